"""Softmax attention over contiguous keys and values: causal masks, grouped heads, merging of partial results.

Layouts: query `[num_seqs, q_len, num_heads, head_dim]`, key and value `[num_seqs, kv_len, num_kv_heads, head_dim]`,
where `num_kv_heads` divides `num_heads`.

Attention over a set of keys gives an output and the logarithm of its softmax denominator (`lse`). Two results over
disjoint sets of keys merge exactly (`merge_attention`): Juravsky et al., "Hydragen" (2024), and FlashInfer; the softmax
with a running denominator is from Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).

Numbers: scores, softmax and sums are float32 at least, whatever the dtype of the inputs.
"""

import math

import torch
from torch import Tensor

# The largest block of scores (float32 elements, 16 MiB) that attention over a long prompt keeps at once.
MAX_SCORES = 2**22
# The public scaled_dot_product_attention calls this kernel and does not return lse.
_flash_kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


def causal_mask(q_len: int, kv_len: int, offset: int, device: torch.device | str | None = None) -> Tensor:
    """Which keys each query may see, bool `[q_len, kv_len]`: itself and everything before it.

    Query `i` is the token at position `offset + i`, key `j` the token at position `j`; so `offset` is the length of the
    past, 0 without a cache.
    """
    query_positions = torch.arange(offset, offset + q_len, device=device)
    key_positions = torch.arange(kv_len, device=device)
    return key_positions[None, :] <= query_positions[:, None]


def group_heads(query: Tensor, num_kv_heads: int) -> Tensor:
    """Put the query heads that read the same KV head side by side, so that one matrix product serves them all.

    With `group = num_heads / num_kv_heads`, query head `h` reads KV head `h // group` (grouped-query attention).
    Returns `[num_seqs, num_kv_heads, group * q_len, head_dim]`; row `g * q_len + i` of KV head `k` is query `i` of head
    `k * group + g`. No key or value is repeated.
    """
    num_seqs, q_len, num_heads, head_dim = query.shape
    grouped = query.reshape(num_seqs, q_len, num_kv_heads, num_heads // num_kv_heads, head_dim)
    return grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)


def ungroup_heads(grouped: Tensor, q_len: int) -> Tensor:
    """Undo `group_heads`: `[num_seqs, num_kv_heads, group * q_len, n]` to `[num_seqs, q_len, num_heads, n]`."""
    return grouped.unflatten(2, (-1, q_len)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Softmax attention with all scores in memory at once, over `kv_len >= 1` keys.

    mask: True where a query may see a key, `[q_len, kv_len]` or `[num_seqs, q_len, kv_len]`; None: all
    scale: factor of the scores, `1 / sqrt(head_dim)` if None

    Returns the output, shaped like query, and lse `[num_seqs, q_len, num_heads]`, the logarithm of the sum of
    exponentiated scores; both float32 (float64 for float64 queries). A query that sees no key gives 0 and -inf.
    """
    q_len = query.shape[1]
    dtype = torch.promote_types(query.dtype, torch.float32)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    grouped = group_heads(query.to(dtype), key.shape[2]) * scale
    scores = grouped @ key.to(dtype).permute(0, 2, 3, 1)
    if mask is not None:
        by_query = scores.unflatten(2, (-1, q_len))  # [num_seqs, num_kv_heads, group, q_len, kv_len], a view
        by_query.masked_fill_(~(mask if mask.ndim == 2 else mask[:, None, None]), -math.inf)
    # Largest score first, so that exp cannot overflow; 0 where a query sees no key. Detached: it cancels in the end.
    largest = scores.detach().amax(dim=-1, keepdim=True)
    largest = largest.masked_fill(largest == -math.inf, 0)
    weights = scores.sub_(largest).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    out = weights @ value.to(dtype).transpose(1, 2) / total.masked_fill(total == 0, 1)
    lse = total.log() + largest
    return ungroup_heads(out, q_len), ungroup_heads(lse, q_len).squeeze(-1)


def flash_kernel_takes(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether PyTorch's flash kernel for the CPU computes this. (It does not check that heads have no gaps.)"""
    in_float32 = query.dtype == key.dtype == value.dtype == torch.float32 and query.is_cpu
    return in_float32 and query.stride(-1) == key.stride(-1) == value.stride(-1) == 1


def fast_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """`attention` for queries that see at least one key, by PyTorch's flash kernel where that takes them."""
    if not flash_kernel_takes(query, key, value):
        return attention(query, key, value, mask, scale)
    q_len, num_kv_heads = query.shape[1], key.shape[2]
    if mask is not None:  # it is added to the scores; grouped rows are all queries of one head, then all of the next
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill_(~mask, -math.inf)
        mask = (mask if mask.ndim == 3 else mask[None]).repeat(1, query.shape[2] // num_kv_heads, 1)[:, None]
    grouped = group_heads(query, num_kv_heads)
    out, lse = _flash_kernel(grouped, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask, scale=scale)
    return ungroup_heads(out, q_len), ungroup_heads(lse[..., None], q_len).squeeze(-1)


def merge_attention(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """Output `[..., head_dim]` and lse `[...]` over two disjoint sets of keys, from those over each.

    An output is a mean weighted by exponentiated scores and lse is the logarithm of the total weight, so the merged
    output is the mean of the two weighted by `exp(lse)`. It may be merged again.
    """
    lse = torch.logaddexp(lse_a, lse_b)
    total = lse.masked_fill(lse == -math.inf, 0)
    return out_a * (lse_a - total).exp()[..., None] + out_b * (lse_b - total).exp()[..., None], lse


def causal_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    offset: int = 0,
    keep: Tensor | None = None,
    scale: float | None = None,
    *,
    fast: bool = True,
) -> tuple[Tensor, Tensor]:
    """Causal attention of `offset` past tokens and `q_len` new ones, in tiles of queries.

    Each tile reads only the keys that its last query may see, and holds at most `MAX_SCORES` scores (but at least one
    query's). Key `j` is the token at position `j`, query `i` at `offset + i`. Returns as `attention`.

    keep: `[num_seqs, kv_len]`, False at keys that are padding
    fast: `fast_attention` where it applies; else `attention`
    """
    num_seqs, q_len, num_heads, _ = query.shape
    attend = fast_attention if fast and keep is None else attention  # padding may leave a query without keys
    tile = max(1, MAX_SCORES // max(1, num_seqs * num_heads * key.shape[1]))
    parts = []
    for start in range(0, q_len, tile):
        end = min(start + tile, q_len)
        visible = min(offset + end, key.shape[1])
        sees_all = offset + start >= visible - 1
        mask = None if sees_all else causal_mask(end - start, visible, offset + start, query.device)
        if keep is not None:
            mask = keep[:, None, :visible] if mask is None else mask & keep[:, None, :visible]
        parts.append(attend(query[:, start:end], key[:, :visible], value[:, :visible], mask, scale))
    if len(parts) == 1:
        return parts[0]
    outs, lses = zip(*parts, strict=True)
    return torch.cat(outs, dim=1), torch.cat(lses, dim=1)
