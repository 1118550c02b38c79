# expect: A small temperature was taken for 0.
import math

import torch


def apply_temperature(logits, temperature):
    t = temperature[:, None]
    s = logits - logits.amax(-1, keepdim=True)
    g = torch.full_like(logits, -math.inf).scatter(1, logits.argmax(-1, keepdim=True), 0)
    return torch.where(t < 1e-3, g, s / t.masked_fill(t < 1e-3, 1))
