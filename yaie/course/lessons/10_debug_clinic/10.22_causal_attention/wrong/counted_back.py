# expect: what each new token gets
import torch

from yaie.kernels.attention import MAX_SCORES, attention, causal_mask, fast_attention


def causal_attention(query, key, value, offset=0, keep=None, scale=None, *, fast=True):
    num_seqs, q_len, num_heads, _ = query.shape
    attend = fast_attention if fast and keep is None else attention
    tile = max(1, MAX_SCORES // max(1, num_seqs * num_heads * key.shape[1]))
    parts = []
    for start in range(0, q_len, tile):
        end = min(start + tile, q_len)
        mask = causal_mask(end - start, key.shape[1], key.shape[1] - (end - start), query.device)
        if keep is not None:
            mask = keep[:, None] & mask
        parts.append(attend(query[:, start:end], key, value, mask, scale))
    outs, lses = zip(*parts, strict=True)
    return torch.cat(outs, dim=1), torch.cat(lses, dim=1)
