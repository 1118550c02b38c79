import math

import torch


def keep_largest(logits, counts):
    result = torch.full_like(logits, -math.inf)
    for row, count in enumerate(counts.tolist()):
        order = torch.sort(logits[row], descending=True, stable=True).indices[:count]
        result[row, order] = logits[row, order]
    return result
