# expect: Where all is kept
import math


def keep_largest(logits, counts):
    if int(counts.min()) == logits.shape[1]:
        return logits
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return logits.masked_fill(order.argsort(-1) >= counts[:, None], -math.inf)
