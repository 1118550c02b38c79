# expect: 3.0, 2.0, -inf
import math

import torch


def keep_largest(logits, counts):
    s, _ = logits.sort(dim=-1, descending=True, stable=True)
    return s.masked_fill(torch.arange(logits.shape[1]) >= counts[:, None], -math.inf)
