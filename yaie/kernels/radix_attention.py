"""Attention of the engine in plain PyTorch: rotary positions, causal masks, grouped heads, pages, shared prefixes.

Layouts: query `[num_seqs, q_len, num_heads, head_dim]`, key and value `[num_seqs, kv_len, num_kv_heads,
head_dim]`, one layer of the paged cache `[num_blocks, block_size, num_kv_heads, head_dim]`. A batch whose
sequences have query lengths of their own is flat, `[num_tokens, num_heads, head_dim]`, the tokens of a
sequence next to each other.

Attention over a set of keys gives an output and the logarithm of its softmax denominator (`lse`). Two results
over disjoint sets of keys merge exactly (`merge_attention`), so the pages of a cached prefix are read once
for all sequences that share it, and each sequence adds its own pages. The merge is from Juravsky et al.,
"Hydragen: High-Throughput LLM Inference with Shared Prefixes" (2024), and from FlashInfer; the softmax with a
running denominator goes back to Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).

Numbers: rotations, scores, softmax and sums are float32 at least, whatever the dtype of the inputs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

# The largest block of scores (float32 elements, 16 MiB) that attention over a long prompt keeps at once.
MAX_SCORES = 2**22
# Tokens of KV gathered at once in a batched decode: more falls out of the CPU's caches, fewer costs more
# calls.
MAX_GATHERED_TOKENS = 8192
# Reading a shared prefix apart costs about as much as gathering this many tokens.
MIN_SAVED_TOKENS = 512

# --- rotary positions ---------------------------------------------------------------------------------------


def rope_inv_freq(
    head_dim: int,
    theta: float = 10000.0,
    scaling: Mapping | None = None,
    *,
    max_position_embeddings: int | None = None,
    seq_len: int | None = None,
) -> torch.Tensor:
    """Inverse frequencies of RoPE in radians per position, `[head_dim / 2]`, float32.

    Args:
        head_dim: an even number.
        theta: base of the frequencies.
        scaling: `rope_scaling` (or `rope_parameters`) of a Hugging Face configuration. `rope_type` may be
            `default`, `linear`, `dynamic` or `llama3`.
        max_position_embeddings: context length of training; only `dynamic` needs it.
        seq_len: only for `dynamic`: the longest sequence that these frequencies must serve. Keys in a cache
            are rotated already, so one run needs one `seq_len`; up to `max_position_embeddings` nothing is scaled.

    Raises:
        ValueError: odd head_dim; a type, or an entry of `scaling`, that this function does not implement.

    Source: Su et al., "RoFormer" (2021); `llama3` from the Llama 3.1 release; `dynamic` is NTK-aware scaling.
    """
    if head_dim <= 0 or head_dim % 2:
        raise ValueError(f"RoPE rotates pairs of numbers: head_dim must be even and positive, got {head_dim}")
    scaling = dict(scaling or {})
    kinds = {scaling.pop(name) for name in ("rope_type", "type") if name in scaling}
    kind = kinds.pop() if kinds else "default"
    entries = {
        "default": (),
        "linear": ("factor",),
        "dynamic": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }
    if kinds or kind not in entries:
        raise ValueError(f"rope_type {kind!r} is not supported; supported: {', '.join(entries)}")
    if scaling.pop("rope_theta", theta) != theta:
        raise ValueError(f"scaling has another rope_theta than theta={theta}")
    if set(scaling) != set(entries[kind]):
        raise ValueError(f"rope_type {kind!r} needs entries {list(entries[kind])}, got {sorted(scaling)}")
    factor = scaling.get("factor", 1.0)
    if kind == "dynamic":
        if max_position_embeddings is None:
            raise ValueError("rope_type 'dynamic' needs max_position_embeddings")
        stretch = max(1.0, (seq_len or 0) / max_position_embeddings)
        theta = theta * (factor * stretch - (factor - 1)) ** (head_dim / (head_dim - 2))
    inv_freq = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    if kind == "linear":
        return inv_freq / factor
    if kind == "llama3":
        # Long waves are slowed down by `factor`, short ones kept, those in between blended.
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        waves_in_context = scaling["original_max_position_embeddings"] * inv_freq / (2 * math.pi)
        keep = ((waves_in_context - low) / (high - low)).clamp(0, 1)
        return (1 - keep) * inv_freq / factor + keep * inv_freq
    return inv_freq


def rope_cos_sin(positions: torch.Tensor, inv_freq: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of every rotation angle: pair `i` of a head at position `p` turns by `p * inv_freq[i]`.

    Args:
        positions: `[...]`, integers: the true position of every token in its sequence.
        inv_freq: `[head_dim / 2]`, float32 (half precision cannot tell neighbouring positions apart).

    Returns:
        Two float32 tensors `[..., 1, head_dim / 2]`; the 1 stands for the heads, which all turn alike.
    """
    angles = positions[..., None, None].to(inv_freq.dtype) * inv_freq
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn every pair of numbers of every head by its angle.

    Pair `i` is `(a, b) = (x[..., i], x[..., i + head_dim / 2])`, as in Hugging Face checkpoints (not
    neighbours `2i` and `2i + 1`). It becomes `(a cos - b sin, b cos + a sin)`.

    Args:
        x: `[..., num_heads, head_dim]`.
        cos, sin: `[..., 1, head_dim / 2]`, from `rope_cos_sin`.

    Returns:
        The same shape and dtype as `x`; computed in the precision of `cos`.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def apply_rope(x: torch.Tensor, positions: torch.Tensor, inv_freq: torch.Tensor) -> torch.Tensor:
    """Rotate `x` `[..., num_heads, head_dim]` to `positions` `[...]`; see `rope_cos_sin` and `rotate`."""
    return rotate(x, *rope_cos_sin(positions, inv_freq))


# --- attention over keys in one piece -----------------------------------------------------------------------


def causal_mask(q_len: int, kv_len: int, offset: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Which keys each query may see: itself and everything before it.

    Args:
        q_len: number of queries; query `i` is the token at position `offset + i`.
        kv_len: number of keys; key `j` is the token at position `j`.
        offset: number of tokens before the first query: 0 without a cache, else the length of the past.

    Returns:
        `[q_len, kv_len]`, bool, True where query `i` may see key `j`.
    """
    query_positions = torch.arange(offset, offset + q_len, device=device)
    key_positions = torch.arange(kv_len, device=device)
    return key_positions[None, :] <= query_positions[:, None]


def group_heads(query: torch.Tensor, num_kv_heads: int) -> torch.Tensor:
    """Put the query heads that read the same KV head side by side, so that one matrix product serves them all.

    With `group = num_heads / num_kv_heads`, query head `h` reads KV head `h // group` (grouped-query
    attention).

    Args:
        query: `[num_seqs, q_len, num_heads, head_dim]`.

    Returns:
        `[num_seqs, num_kv_heads, group * q_len, head_dim]`; row `g * q_len + i` of KV head `k` is query `i`
        of head `k * group + g`. No key or value is repeated.
    """
    num_seqs, q_len, num_heads, head_dim = query.shape
    grouped = query.reshape(num_seqs, q_len, num_kv_heads, num_heads // num_kv_heads, head_dim)
    return grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)


def ungroup_heads(grouped: torch.Tensor, q_len: int) -> torch.Tensor:
    """Undo `group_heads`: `[num_seqs, num_kv_heads, group * q_len, n]` to `[num_seqs, q_len, num_heads, n]`."""
    return grouped.unflatten(2, (-1, q_len)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention with all scores at once, and what is needed to merge it with attention over other keys.

    Args:
        query: `[num_seqs, q_len, num_heads, head_dim]`.
        key, value: `[num_seqs, kv_len >= 1, num_kv_heads, head_dim]`; `num_kv_heads` divides `num_heads`.
        mask: True where a query may see a key, `[q_len, kv_len]` or `[num_seqs, q_len, kv_len]`; None: all.
        scale: factor of the scores, `1 / sqrt(head_dim)` if None.

    Returns:
        The output, shaped like query, and lse `[num_seqs, q_len, num_heads]`, the logarithm of the sum of
        exponentiated scores; both float32 (float64 for float64 queries). A query that sees no key gives 0 and
        -inf.
    """
    q_len = query.shape[1]
    dtype = torch.promote_types(query.dtype, torch.float32)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    grouped = group_heads(query.to(dtype), key.shape[2]) * scale
    scores = grouped @ key.to(dtype).permute(0, 2, 3, 1)
    if mask is not None:
        by_query = scores.unflatten(2, (-1, q_len))  # [num_seqs, num_kv_heads, group, q_len, kv_len], a view
        by_query.masked_fill_(~(mask if mask.ndim == 2 else mask[:, None, None]), -math.inf)
    # Largest score first, so that exp cannot overflow; 0 where a query sees no key. Detached: it cancels in
    # the end.
    largest = scores.detach().amax(dim=-1, keepdim=True)
    largest = largest.masked_fill(largest == -math.inf, 0)
    weights = scores.sub_(largest).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    out = weights @ value.to(dtype).transpose(1, 2) / total.masked_fill(total == 0, 1)
    lse = total.log() + largest
    return ungroup_heads(out, q_len), ungroup_heads(lse, q_len).squeeze(-1)


# In a tuple: who puts another function in the place of `attention`, wherever it is known, does not replace it here.
_OWN_ATTENTION = (attention,)


def fast_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attention` for queries that see at least one key, through PyTorch's flash kernel where there is one.

    That kernel takes float32 on a CPU and never keeps all scores at once. Elsewhere, and where another function
    has been put in the place of `attention`, `attention` runs.
    """
    if not _flash_kernel_takes(query, key):
        return attention(query, key, value, mask, scale)
    q_len, num_kv_heads = query.shape[1], key.shape[2]
    if mask is not None:  # grouped rows are all queries of one head, then all of the next
        mask = _as_bias(mask if mask.ndim == 3 else mask[None]).repeat(1, query.shape[2] // num_kv_heads, 1)
        mask = mask[:, None]
    grouped = group_heads(query, num_kv_heads)
    out, lse = _flash_kernel(grouped, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask, scale=scale)
    return ungroup_heads(out, q_len), ungroup_heads(lse[..., None], q_len).squeeze(-1)


# The public scaled_dot_product_attention calls this kernel too, but keeps lse to itself.
_flash_kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def _flash_kernel_takes(query: torch.Tensor, key: torch.Tensor) -> bool:
    on_cpu = query.device.type == "cpu" and query.dtype == key.dtype == torch.float32
    return on_cpu and attention is _OWN_ATTENTION[0]


def _as_bias(mask: torch.Tensor) -> torch.Tensor:
    """What a mask adds to the scores: 0 where it is True, else -inf."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -math.inf)


def merge_attention(
    out_a: torch.Tensor, lse_a: torch.Tensor, out_b: torch.Tensor, lse_b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over two disjoint sets of keys, from the attention over each.

    An output is a mean weighted by exponentiated scores and lse is the logarithm of the total weight, so the
    merged output is the mean of the two weighted by `exp(lse)`.

    Args:
        out_a, out_b: `[..., head_dim]`; lse_a, lse_b: `[...]`, from `attention`.

    Returns:
        Output and lse over the union, ready to be merged again.
    """
    lse = torch.logaddexp(lse_a, lse_b)
    total = lse.masked_fill(lse == -math.inf, 0)
    return out_a * (lse_a - total).exp()[..., None] + out_b * (lse_b - total).exp()[..., None], lse


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    offset: int = 0,
    keep: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention of `offset` past tokens and `q_len` new ones, in tiles of queries.

    Each tile reads only the keys that its last query may see, and at most `MAX_SCORES` scores exist at once
    (but at least one query's).

    Args:
        query, key, value, scale: as for `attention`; key `j` is the token at position `j`, query `i` at
        `offset + i`.
        keep: `[num_seqs, kv_len]`, False at keys that are padding.

    Returns:
        As `attention`.
    """
    num_seqs, q_len, num_heads, _ = query.shape
    tile = max(1, MAX_SCORES // max(1, num_seqs * num_heads * key.shape[1]))
    parts = []
    for start in range(0, q_len, tile):
        end = min(start + tile, q_len)
        visible = min(offset + end, key.shape[1])
        sees_all = offset + start >= visible - 1
        mask = None if sees_all else causal_mask(end - start, visible, offset + start, query.device)
        if keep is not None:
            mask = keep[:, None, :visible] if mask is None else mask & keep[:, None, :visible]
        attend = attention if keep is not None else fast_attention  # padding may leave a query without keys
        parts.append(attend(query[:, start:end], key[:, :visible], value[:, :visible], mask, scale))
    if len(parts) == 1:
        return parts[0]
    outs, lses = zip(*parts, strict=True)
    return torch.cat(outs, dim=1), torch.cat(lses, dim=1)


# --- attention over pages -----------------------------------------------------------------------------------


def gather_pages(cache: torch.Tensor, block_table: torch.Tensor, context_len: int) -> torch.Tensor:
    """Collect the first `context_len` tokens of a sequence, which lie in pages all over the pool.

    Args:
        cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, keys or values of one layer.
        block_table: `[at least ceil(context_len / block_size)]`, integers; entry `i` is the block that holds
            the tokens `i * block_size ... (i + 1) * block_size - 1`. Later entries may be anything.
        context_len: number of tokens.

    Returns:
        `[context_len, num_kv_heads, head_dim]`, a copy, in order of position.
    """
    block_size = cache.shape[1]
    num_blocks = -(-context_len // block_size)
    return cache.index_select(0, block_table[:num_blocks]).flatten(0, 1)[:context_len]


class SharedPrefix(NamedTuple):
    """Full blocks at the start of several sequences: all their queries see every token in them."""

    rows: torch.Tensor  # rows of the flat query
    block_table: torch.Tensor
    num_tokens: int


class DecodeBatch(NamedTuple):
    """Sequences with one query each and the tokens that they do not share, padded to the longest."""

    rows: torch.Tensor | slice
    # [num_seqs, num_kv_heads, kv_len] rows of the cache seen as [-1, head_dim]. Padding repeats the
    # sequence's own last token, so that what another request left in the pool (a NaN, say) cannot reach this
    # one.
    kv_rows: torch.Tensor
    mask: torch.Tensor | None  # [num_seqs, 1, kv_len], None where nothing is padded


class Prefill(NamedTuple):
    """One sequence with several queries and the tokens that it does not share."""

    rows: slice
    block_table: torch.Tensor
    num_tokens: int


class AttentionPlan(NamedTuple):
    """What to read for a batch. Depends on lengths and block tables only: made once, used by every layer."""

    num_tokens: int  # rows of the flat query
    shared: list[SharedPrefix]
    decode: list[DecodeBatch]
    prefill: list[Prefill]

    @property
    def is_one_decode(self) -> bool:
        """Whether there is nothing to put together: one batch of decodes has all rows, in their order."""
        whole = len(self.decode) == 1 and not self.shared and not self.prefill
        return whole and self.decode[0].rows == slice(0, self.num_tokens)


def shared_prefix_groups(block_tables: np.ndarray, num_shareable: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Disjoint groups of sequences that start with the same blocks, chosen so that few blocks are read twice.

    Args:
        block_tables: `[num_seqs, max_blocks]`.
        num_shareable: `[num_seqs]`, how many of a sequence's first blocks may be shared.

    Returns:
        Pairs (indices of at least two sequences, number of their shared blocks). A group of `n` sequences saves
        reading its blocks `n - 1` times. Top down, a group is split by its next block where that saves more, at
        most 32 times.
    """

    def saved(groups: list[tuple[np.ndarray, int]]) -> int:
        return sum((len(members) - 1) * shared for members, shared in groups)

    def best(members: np.ndarray, levels: int = 32) -> list[tuple[np.ndarray, int]]:
        if len(members) < 2 or levels == 0:
            return []
        limit = int(num_shareable[members].min())
        equal = (block_tables[members, :limit] == block_tables[members[0], :limit]).all(axis=0)
        shared = limit if equal.all() else int(equal.argmin())
        together = [(members, shared)] if shared else []
        longer = members[num_shareable[members] > shared]
        next_block = block_tables[longer, shared] if len(longer) else longer
        parts = [best(longer[next_block == block], levels - 1) for block in np.unique(next_block)]
        apart = [group for part in parts for group in part]
        rest = members[~np.isin(members, np.concatenate([group for group, _ in apart]))] if apart else members
        if shared and 1 < len(rest) < len(members):
            apart.append((rest, shared))
        return max(together, apart, key=saved)

    return best(np.arange(len(num_shareable)))


def _plan_one_decode(block_table: torch.Tensor, context_len: int, block_size: int, num_kv_heads: int) -> AttentionPlan:
    """The plan for one sequence with one query: what a chat spends most of its time on, so it takes few calls."""
    blocks = block_table[: -(-context_len // block_size)].cpu().numpy().astype(np.int64)
    slots = (blocks[:, None] * block_size + np.arange(block_size)).ravel()[:context_len]
    kv_rows = slots * num_kv_heads + np.arange(num_kv_heads)[:, None]
    on_device = torch.from_numpy(kv_rows[None]).to(block_table.device)
    return AttentionPlan(1, [], [DecodeBatch(slice(0, 1), on_device, None)], [])


def plan_attention(
    block_tables: torch.Tensor,
    context_lens: Sequence[int] | torch.Tensor,
    query_lens: Sequence[int] | torch.Tensor | None,
    *,
    block_size: int,
    num_kv_heads: int,
    min_saved_tokens: int = MIN_SAVED_TOKENS,
) -> AttentionPlan:
    """Decide what a batch over pages reads together.

    Args:
        block_tables: `[num_seqs, max_blocks]`, integers; entries beyond a sequence's context may be anything.
        context_lens: `[num_seqs]`, tokens of each sequence in the pages, its queries included.
        query_lens: `[num_seqs]`, how many of the last tokens are queries; None: one each (decode).
        min_saved_tokens: a prefix is read apart if that saves reading at least this many tokens.
    """
    if len(block_tables) == 1 and query_lens is not None and int(query_lens[0]) == 1:
        return _plan_one_decode(block_tables[0], int(context_lens[0]), block_size, num_kv_heads)
    # Planned in numpy: on a few hundred numbers its calls cost a fraction of a tensor's.
    tables = block_tables.cpu().numpy()
    context_lens = np.asarray(context_lens, dtype=np.int64)
    query_lens = np.ones_like(context_lens) if query_lens is None else np.asarray(query_lens, dtype=np.int64)
    starts = np.concatenate(([0], query_lens.cumsum()))

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(block_tables.device)

    shared, num_shared = [], np.zeros_like(context_lens)
    # Full blocks before the first query; nothing for a sequence that asks for nothing.
    shareable = np.where(query_lens > 0, (context_lens - query_lens) // block_size, 0)
    for members, num_blocks in shared_prefix_groups(tables, shareable):
        if (len(members) - 1) * num_blocks * block_size < min_saved_tokens:
            continue
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members])
        table = block_tables[int(members[0]), :num_blocks]
        shared.append(SharedPrefix(on_device(rows), table, num_blocks * block_size))
        num_shared[members] = num_blocks

    own_lens = context_lens - num_shared * block_size
    prefill = [
        Prefill(slice(starts[i], starts[i + 1]), block_tables[i, num_shared[i] :], int(own_lens[i]))
        for i in np.flatnonzero(query_lens > 1).tolist()
    ]
    decode = []
    longest_first = np.flatnonzero(query_lens == 1)
    if len(longest_first) and own_lens[longest_first].max() * len(longest_first) > MAX_GATHERED_TOKENS:
        longest_first = longest_first[np.argsort(-own_lens[longest_first], kind="stable")]
    while len(longest_first):
        kv_len = int(own_lens[longest_first].max())
        count = max(1, MAX_GATHERED_TOKENS // kv_len)
        members, longest_first = longest_first[:count], longest_first[count:]
        lens = own_lens[members, None]
        positions = np.minimum(np.arange(kv_len), lens - 1)
        blocks = tables[members[:, None], num_shared[members, None] + positions // block_size].astype(np.int64)
        slots = blocks * block_size + positions % block_size
        kv_rows = slots[:, None, :] * num_kv_heads + np.arange(num_kv_heads)[:, None]
        mask = None if (lens == kv_len).all() else on_device(np.arange(kv_len) < lens)[:, None]
        rows = starts[members]
        in_order = (rows[1:] - rows[:-1] == 1).all()
        rows = slice(int(rows[0]), int(rows[-1]) + 1) if in_order else on_device(rows)
        decode.append(DecodeBatch(rows, on_device(kv_rows), mask))
    return AttentionPlan(int(starts[-1]), shared, decode, prefill)


def _attend_decode(
    query: torch.Tensor, key_cache: torch.Tensor, value_cache: torch.Tensor, part: DecodeBatch, scale: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and lse of queries `[num_seqs, num_heads, head_dim]`, one per sequence, over what each does not share."""
    (num_seqs, num_kv_heads, _), head_dim = part.kv_rows.shape, query.shape[-1]
    grouped = (num_seqs, num_kv_heads, -1, head_dim)
    kv_rows = part.kv_rows.view(-1)
    key = key_cache.view(-1, head_dim).index_select(0, kv_rows).view(grouped)
    value = value_cache.view(-1, head_dim).index_select(0, kv_rows).view(grouped)
    if _flash_kernel_takes(query, key):
        bias = None
        if part.mask is not None:
            bias = _as_bias(part.mask).expand(-1, query.shape[1] // num_kv_heads, -1)[:, None]
        # The query heads of a group lie side by side, so that to group them is to look at them in another shape.
        out, lse = _flash_kernel(query.view(grouped), key, value, attn_mask=bias, scale=scale)
        return out.flatten(1, 2), lse.flatten(1)
    out, lse = attention(query[:, None], key.transpose(1, 2), value.transpose(1, 2), part.mask, scale)
    return out[:, 0], lse[:, 0]


def paged_attention(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    plan: AttentionPlan,
    scale: float | None = None,
) -> torch.Tensor:
    """Causal attention of a flat batch over pages: each query sees its sequence's tokens up to itself.

    Args:
        query: `[num_tokens, num_heads, head_dim]`; the keys and values of these tokens lie in the pages already.
        key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`.
        plan: from `plan_attention`.

    Returns:
        `[num_tokens, num_heads, head_dim]` in the dtype of query.

    Raises:
        ValueError: the plan is for another number of tokens.
    """
    if query.shape[0] != plan.num_tokens:
        raise ValueError(f"the plan is for {plan.num_tokens} query tokens, got {query.shape[0]}")
    if plan.is_one_decode:
        return _attend_decode(query, key_cache, value_cache, plan.decode[0], scale)[0].to(query.dtype)
    out = query.new_empty(query.shape, dtype=torch.promote_types(query.dtype, torch.float32))
    lse = out.new_empty(query.shape[:-1])
    for part in plan.decode:
        out[part.rows], lse[part.rows] = _attend_decode(query[part.rows], key_cache, value_cache, part, scale)
    for part in plan.prefill:
        key, value = (
            gather_pages(cache, part.block_table, part.num_tokens)[None] for cache in (key_cache, value_cache)
        )
        queries = query[None, part.rows]
        offset = part.num_tokens - queries.shape[1]
        out[None, part.rows], lse[None, part.rows] = causal_attention(queries, key, value, offset, None, scale)
    for part in plan.shared:
        key, value = (
            gather_pages(cache, part.block_table, part.num_tokens)[None] for cache in (key_cache, value_cache)
        )
        # All queries of the group as if they were one sequence's, after the prefix: its keys are read once.
        part_out, part_lse = fast_attention(query[None, part.rows], key, value, None, scale)
        out[part.rows], lse[part.rows] = merge_attention(out[part.rows], lse[part.rows], part_out[0], part_lse[0])
    return out.to(query.dtype)


# --- the block ----------------------------------------------------------------------------------------------


class RadixAttentionBlock(nn.Module):
    """Causal self-attention with RoPE, grouped heads and a cache of the past, contiguous or in pages.

    Args:
        hidden_size: width of the model.
        num_heads: query heads.
        head_dim: even.
        max_position_embeddings: what the model was trained for. No table is built, so longer inputs work.
        num_kv_heads: KV heads, a divisor of `num_heads`; None means `num_heads`.
        inv_freq: `[head_dim / 2]` from `rope_inv_freq`; None means RoPE with theta 10000.

    Raises:
        ValueError: sizes that do not fit together.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_dim: int,
        max_position_embeddings: int = 2048,
        num_kv_heads: int | None = None,
        inv_freq: torch.Tensor | None = None,
    ):
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if min(hidden_size, num_heads, num_kv_heads) <= 0 or num_heads % num_kv_heads:
            raise ValueError(
                f"hidden_size={hidden_size}, num_heads={num_heads}, num_kv_heads={num_kv_heads}: all must be "
                "positive, and num_kv_heads must divide num_heads"
            )
        # A plain attribute: as a buffer it would turn into half precision with the weights (`block.half()`).
        self.inv_freq = rope_inv_freq(head_dim) if inv_freq is None else inv_freq.float()
        if self.inv_freq.shape != (head_dim // 2,):
            raise ValueError(f"inv_freq must have shape ({head_dim // 2},), got {tuple(self.inv_freq.shape)}")
        self.hidden_size = hidden_size
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.head_dim = head_dim
        self.max_position_embeddings = max_position_embeddings
        self.q_proj = nn.Linear(hidden_size, num_heads * head_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, num_kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, num_kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(num_heads * head_dim, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        past_key_value: tuple[torch.Tensor, torch.Tensor] | None = None,
        use_cache: bool = False,
        attention_mask: torch.Tensor | None = None,
        seq_lens: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, None, tuple[torch.Tensor, torch.Tensor]]:
        """Attend from every token to itself and those before it.

        Args:
            hidden_states: `[num_seqs, q_len, hidden_size]`, any floating dtype.
            position_ids: `[num_seqs, q_len]` or `[q_len]`; default: counting on from the length of the past.
            past_key_value: keys (rotated) and values of earlier tokens, each `[num_seqs, past_len,
                num_kv_heads, head_dim]`, as returned by an earlier call.
            use_cache: return keys and values as well.
            attention_mask: `[num_seqs, past_len + q_len]`, 0 or False at padding, which nobody sees.
            seq_lens: `[num_seqs]`, instead of a mask: how many of the new tokens are real; padding follows.

        Returns:
            The output, shaped and typed like `hidden_states`. With `use_cache` or a past: `(output, None,
            past_key_value)`, the past in the dtype of the weights. Outputs at padding mean nothing.

        Raises:
            ValueError: shapes that do not fit, or both a mask and `seq_lens`.
        """
        if hidden_states.ndim != 3 or hidden_states.shape[-1] != self.hidden_size:
            expected = f"[num_seqs, q_len, {self.hidden_size}]"
            raise ValueError(f"hidden_states must be {expected}, got {tuple(hidden_states.shape)}")
        num_seqs, q_len, _ = hidden_states.shape
        past_len = self._past_len(past_key_value, num_seqs)
        keep = self._keep(attention_mask, seq_lens, num_seqs, past_len, q_len, hidden_states.device)
        if position_ids is None:
            position_ids = torch.arange(past_len, past_len + q_len, device=hidden_states.device)
        query, key, value = self._project(hidden_states, position_ids)
        if keep is not None:
            # A weight of 0 does not silence a NaN, so padding must not keep its values.
            value = value.masked_fill(~keep[:, past_len:, None, None], 0)
        if past_key_value is not None:
            key = torch.cat((past_key_value[0], key), dim=1)
            value = torch.cat((past_key_value[1], value), dim=1)
        out, _ = causal_attention(query, key, value, past_len, keep)
        output = self._output(out, hidden_states.dtype)
        if use_cache or past_key_value is not None:
            return output, None, (key, value)
        return output

    def forward_paged(
        self,
        hidden_states: torch.Tensor,
        position_ids: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
        slot_mapping: torch.Tensor,
        plan: AttentionPlan,
    ) -> torch.Tensor:
        """The same over pages: store the new keys and values in their slots, then attend over the pages.

        Args:
            hidden_states: `[num_tokens, hidden_size]`, a flat batch; position_ids and slot_mapping:
            `[num_tokens]`.
            key_cache, value_cache: one layer of the pool; written at `slot_mapping`.
            plan: from `plan_attention`.
        """
        query, key, value = self._project(hidden_states, position_ids)
        key_cache.view(-1, self.num_kv_heads, self.head_dim)[slot_mapping] = key.to(key_cache.dtype)
        value_cache.view(-1, self.num_kv_heads, self.head_dim)[slot_mapping] = value.to(value_cache.dtype)
        return self._output(paged_attention(query, key_cache, value_cache, plan), hidden_states.dtype)

    def _project(self, hidden_states: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Query, key and value with heads apart, query and key rotated; in the dtype of the weights."""
        hidden_states = hidden_states.to(self.q_proj.weight.dtype)
        query, key, value = (
            proj(hidden_states).unflatten(-1, (-1, self.head_dim)) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        cos, sin = rope_cos_sin(positions, self.inv_freq.to(hidden_states.device))
        return rotate(query, cos, sin), rotate(key, cos, sin), value

    def _output(self, out: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return self.o_proj(out.flatten(-2).to(self.o_proj.weight.dtype)).to(dtype)

    def _past_len(self, past: tuple[torch.Tensor, torch.Tensor] | None, num_seqs: int) -> int:
        if past is None:
            return 0
        past_len = past[0].shape[1] if past[0].ndim == 4 else -1
        expected = (num_seqs, past_len, self.num_kv_heads, self.head_dim)
        if past[0].shape != expected or past[1].shape != expected:
            raise ValueError(
                f"past_key_value must be two tensors [num_seqs={num_seqs}, past_len, num_kv_heads="
                f"{self.num_kv_heads}, head_dim={self.head_dim}], "
                f"got {tuple(past[0].shape)} and {tuple(past[1].shape)}"
            )
        return past_len

    @staticmethod
    def _keep(attention_mask, seq_lens, num_seqs, past_len, q_len, device) -> torch.Tensor | None:
        """The padding mask `[num_seqs, past_len + q_len]`, True at real tokens, from either way to say it."""
        if attention_mask is not None and seq_lens is not None:
            raise ValueError("give attention_mask or seq_lens, not both")
        if attention_mask is not None:
            if attention_mask.shape != (num_seqs, past_len + q_len):
                raise ValueError(
                    f"attention_mask must be [num_seqs={num_seqs}, past_len + q_len={past_len + q_len}], "
                    f"got {tuple(attention_mask.shape)}"
                )
            return attention_mask.to(device).bool()
        if seq_lens is not None:
            seq_lens = torch.as_tensor(seq_lens, device=device)
            if seq_lens.shape != (num_seqs,) or seq_lens.min() < 0 or seq_lens.max() > q_len:
                raise ValueError(f"seq_lens must be {num_seqs} lengths from 0 to {q_len}, got {seq_lens.tolist()}")
            return torch.arange(past_len + q_len, device=device) < past_len + seq_lens[:, None]
        return None
