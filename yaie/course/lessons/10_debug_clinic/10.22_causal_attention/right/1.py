import torch

from yaie.kernels.attention import MAX_SCORES, attention, causal_mask, fast_attention


def causal_attention(query, key, value, offset=0, keep=None, scale=None, *, fast=True):
    num_seqs, q_len, num_heads, _ = query.shape
    attend = fast_attention if fast and keep is None else attention
    tile = max(1, MAX_SCORES // max(1, num_seqs * num_heads * key.shape[1]))
    parts = []
    for start in range(0, q_len, tile):
        end = min(start + tile, q_len)
        visible = min(offset + end, key.shape[1])
        mask = causal_mask(end - start, visible, start + offset, query.device)
        if keep is not None:
            mask = keep[:, None, :visible] & mask
        parts.append(attend(query[:, start:end], key[:, :visible], value[:, :visible], mask, scale))
    outs, lses = zip(*parts, strict=True)
    return torch.cat(outs, dim=1), torch.cat(lses, dim=1)
