import torch


def causal_mask(q_len, kv_len, offset, device=None):
    queries = torch.arange(q_len, device=device).unsqueeze(1) + offset
    keys = torch.arange(kv_len, device=device).unsqueeze(0)
    return ~(keys > queries)
