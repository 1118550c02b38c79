import math

import torch


def apply_temperature(logits, temperature):
    rows = []
    for row, t in zip(logits, temperature.tolist()):
        if t > 0:
            rows.append((row - row.max()) / t)
        else:
            greedy = torch.full_like(row, -math.inf)
            greedy[row.argmax()] = 0.0
            rows.append(greedy)
    return torch.stack(rows)
