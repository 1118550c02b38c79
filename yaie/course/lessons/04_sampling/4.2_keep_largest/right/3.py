import math

import torch


def keep_largest(logits, counts):
    rows = []
    for row, count in zip(logits.tolist(), counts.tolist()):
        kept = set(sorted(range(len(row)), key=lambda i: -row[i])[:count])
        rows.append([x if i in kept else -math.inf for i, x in enumerate(row)])
    return torch.tensor(rows)
