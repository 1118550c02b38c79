import torch


def group_heads(query, num_kv_heads):
    groups = query.chunk(num_kv_heads, dim=2)
    return torch.stack([group.transpose(1, 2).flatten(1, 2) for group in groups], dim=1)
