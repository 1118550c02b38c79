# expect: float64 queries got a float32 answer
import math

from yaie.kernels.attention import group_heads, ungroup_heads


def attention(query, key, value, mask=None, scale=None):
    q_len = query.shape[1]
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = group_heads(query.float(), key.shape[2]) @ key.float().permute(0, 2, 3, 1) * scale
    if mask is not None:
        rows = scores.unflatten(2, (-1, q_len))
        rows.masked_fill_(~(mask if mask.ndim == 2 else mask[:, None, None]), -math.inf)
    lse = scores.logsumexp(dim=-1, keepdim=True)
    out = scores.softmax(dim=-1).nan_to_num(0.0) @ value.float().transpose(1, 2)
    return ungroup_heads(out, q_len), ungroup_heads(lse, q_len).squeeze(-1)
