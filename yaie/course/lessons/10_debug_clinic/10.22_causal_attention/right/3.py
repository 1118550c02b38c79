import torch

from yaie.kernels.attention import MAX_SCORES, attention, causal_mask, fast_attention


def causal_attention(query, key, value, offset=0, keep=None, scale=None, *, fast=True):
    num_seqs, q_len, num_heads, _ = query.shape
    attend = fast_attention if fast and keep is None else attention
    tile = max(1, MAX_SCORES // max(1, num_seqs * num_heads * key.shape[1]))
    whole = causal_mask(q_len, key.shape[1], offset, query.device)
    parts = []
    for start in range(0, q_len, tile):
        mask = whole[start : start + tile]
        if keep is not None:
            mask = mask & keep[:, None]
        parts.append(attend(query[:, start : start + tile], key, value, mask, scale))
    return tuple(torch.cat(part, dim=1) for part in zip(*parts, strict=True))
