import math

import torch


def apply_temperature(logits, temperature):
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    best = torch.full_like(logits, -math.inf)
    best[torch.arange(len(logits)), logits.argmax(dim=-1)] = 0
    return torch.where(temperature[:, None] == 0, best, shifted / temperature[:, None])
