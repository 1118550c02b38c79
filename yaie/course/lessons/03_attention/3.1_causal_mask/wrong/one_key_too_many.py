# expect: Each query sees one key too many
import torch


def causal_mask(q_len, kv_len, offset, device=None):
    return torch.ones(q_len, kv_len, device=device, dtype=torch.bool).tril(offset + 1)
