# expect: The mask was changed in place.
import math

import torch

from yaie.kernels.attention import group_heads, ungroup_heads


def attention(query, key, value, mask=None, scale=None):
    dt = torch.promote_types(query.dtype, torch.float32)
    q_len = query.shape[1]
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    s = group_heads(query.to(dt), key.shape[2]) @ key.to(dt).permute(0, 2, 3, 1) * scale
    if mask is not None:
        hidden = mask.logical_not_()
        s.unflatten(2, (-1, q_len)).masked_fill_(hidden if mask.ndim == 2 else hidden[:, None, None], -math.inf)
    lse = s.logsumexp(-1, keepdim=True)
    out = s.softmax(-1).nan_to_num(0.0) @ value.to(dt).transpose(1, 2)
    return ungroup_heads(out, q_len), ungroup_heads(lse, q_len).squeeze(-1)
