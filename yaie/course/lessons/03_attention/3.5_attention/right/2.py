import math

import torch

from yaie.kernels.attention import group_heads, ungroup_heads


def attention(query, key, value, mask=None, scale=None):
    q_len = query.shape[1]
    dtype = torch.promote_types(query.dtype, torch.float32)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = group_heads(query.to(dtype), key.shape[2]) @ key.to(dtype).permute(0, 2, 3, 1)
    scores = (scores * scale).unflatten(2, (-1, q_len))
    if mask is not None:
        every = mask.expand(query.shape[0], *mask.shape[-2:])[:, None, None]
        scores = torch.where(every, scores, -math.inf)
    scores = scores.flatten(2, 3)
    lse = torch.logsumexp(scores, dim=-1, keepdim=True)
    weights = torch.where(lse == -math.inf, 0.0, scores.softmax(dim=-1))
    out = weights @ value.to(dtype).transpose(1, 2)
    return ungroup_heads(out, q_len), ungroup_heads(lse, q_len)[..., 0]
