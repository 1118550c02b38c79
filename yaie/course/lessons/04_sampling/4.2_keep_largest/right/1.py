import math

import torch


def keep_largest(logits, counts):
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    places = torch.arange(logits.shape[-1]).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    return logits.masked_fill(rank >= counts[:, None], -math.inf)
