# expect: dtype of the result
import math

import torch


def apply_temperature(logits, temperature):
    wide, hot = logits.double(), temperature.double()[:, None]
    shifted = wide - wide.amax(dim=-1, keepdim=True)
    greedy = torch.full_like(wide, -math.inf).scatter(1, wide.argmax(dim=-1, keepdim=True), 0)
    return torch.where(hot == 0, greedy, shifted / hot.masked_fill(hot == 0, 1))
