import torch


def causal_mask(q_len, kv_len, offset, device=None):
    rows = [[key <= offset + query for key in range(kv_len)] for query in range(q_len)]
    return torch.tensor(rows, dtype=torch.bool, device=device)
