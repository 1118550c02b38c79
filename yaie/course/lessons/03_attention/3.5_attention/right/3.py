import math

import torch


def attention(query, key, value, mask=None, scale=None):
    num_seqs, q_len, num_heads, head_dim = query.shape
    if query.dtype != torch.float64:
        query = query.float()
    if scale is None:
        scale = head_dim**-0.5
    group = num_heads // key.shape[2]
    out = torch.zeros_like(query)
    lse = torch.full((num_seqs, q_len, num_heads), -math.inf, dtype=query.dtype)
    for s in range(num_seqs):
        for h in range(num_heads):
            keys, values = key[s, :, h // group].to(query.dtype), value[s, :, h // group].to(query.dtype)
            for i in range(q_len):
                scores = keys @ query[s, i, h] * scale
                seen = values
                if mask is not None:
                    row = mask[i] if mask.ndim == 2 else mask[s, i]
                    scores, seen = scores[row], values[row]
                if len(scores):
                    lse[s, i, h] = torch.logsumexp(scores, 0)
                    out[s, i, h] = torch.softmax(scores, 0) @ seen
    return out, lse
