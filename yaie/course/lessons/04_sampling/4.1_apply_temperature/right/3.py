import torch


def apply_temperature(logits, temperature):
    result = logits.sub(logits.max(dim=-1, keepdim=True).values)
    warm = temperature > 0
    result[warm] = result[warm] / temperature[warm].unsqueeze(1)
    ids = torch.arange(logits.shape[1]).expand_as(logits)
    first = logits.argmax(dim=-1, keepdim=True)
    result[~warm] = result[~warm].masked_fill(ids[~warm] != first[~warm], float("-inf"))
    return result
