import torch


def causal_mask(q_len, kv_len, offset, device=None):
    return torch.ones(q_len, kv_len, dtype=torch.bool, device=device).tril(offset)
