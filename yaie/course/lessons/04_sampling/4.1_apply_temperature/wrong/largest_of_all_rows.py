# expect: The largest logit of all rows was subtracted.
import math

import torch


def apply_temperature(logits, temperature):
    t = temperature[:, None]
    s = logits - logits.max()
    g = torch.full_like(logits, -math.inf).scatter(1, logits.argmax(-1, keepdim=True), 0)
    return torch.where(t == 0, g, s / t.masked_fill(t == 0, 1))
