import math

import torch


def attention(query, key, value, mask=None, scale=None):
    num_seqs, q_len, num_heads, head_dim = query.shape
    dtype = torch.promote_types(query.dtype, torch.float32)
    if scale is None:
        scale = 1 / math.sqrt(head_dim)
    group = num_heads // key.shape[2]
    keys = key.to(dtype).repeat_interleave(group, dim=2)
    values = value.to(dtype).repeat_interleave(group, dim=2)
    scores = torch.einsum("sihd,sjhd->shij", query.to(dtype), keys) * scale
    if mask is not None:
        hidden = ~mask if mask.ndim == 2 else ~mask[:, None]
        scores = scores.masked_fill(hidden, -math.inf)
    lse = scores.logsumexp(dim=-1)
    weights = scores.softmax(dim=-1).nan_to_num(0.0)
    return torch.einsum("shij,sjhd->sihd", weights, values), lse.transpose(1, 2)
