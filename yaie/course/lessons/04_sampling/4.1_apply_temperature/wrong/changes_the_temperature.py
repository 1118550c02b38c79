# expect: The caller's temperatures were changed.
import math

import torch


def apply_temperature(logits, temperature):
    z = temperature == 0
    temperature[z] = 1
    s = (logits - logits.amax(-1, keepdim=True)) / temperature[:, None]
    g = torch.full_like(logits, -math.inf).scatter(1, logits.argmax(-1, keepdim=True), 0)
    return torch.where(z[:, None], g, s)
