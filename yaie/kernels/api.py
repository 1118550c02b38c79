"""One door to every kernel: arguments are checked here, then the chosen backend runs.

Backends: `torch` runs everywhere and is the reference; `cuda` and `emulator` run the kernels of `csrc/`, on a
GPU or under the emulator, as far as they are registered. A backend that is asked for by name and cannot do what is
asked (no such kernel, no GPU here, a dtype that the kernel does not take) raises `BackendError`; nothing is computed
by another one instead. `auto` takes `cuda` for tensors on a GPU, and `torch` where that raises `BackendError` and for
all other tensors; it never takes the emulator, which is for looking at kernels and not for speed.

A backend is a table from operation to function, filled with `register` (`yaie.kernels.backends`). Its functions get
arguments that have been checked, positionally, as the `_torch_...` functions below show. The kernels are registered by
`yaie.kernels.native` when a backend other than torch is first asked for, and compiled when they first run.

Checks look at numbers (block ids, slots, lengths), and to look at numbers on a GPU the CPU has to wait for it. The
engine makes these numbers itself and calls the functions of a backend directly, through `Unchecked`.
"""

import functools
import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from yaie.kernels import model_ops, radix_attention, radix_ops
from yaie.kernels.backends import OPERATIONS, BackendError, register, registered
from yaie.kernels.sampling import SamplingKernel, counter_uniforms, draw_tokens


def available_backends(operation: str) -> list[str]:
    """The backends that can run `operation` on this machine: where it is registered and nothing is in the way."""
    native = _native()
    return [
        backend
        for backend, functions in registered.items()
        if operation in functions and (backend == "torch" or not native.obstacle(backend))
    ]


class Unchecked:
    """The operations of one backend without the checks: `Unchecked(backend, tensor).rms_norm(x, weight, eps, None)`.

    For callers that made the arguments themselves. They are those of the checked functions above the line "checks",
    all of them, positionally; nothing looks at the numbers in them, so nothing waits for a GPU.

    Args:
        backend: as everywhere in this module. The attribute `backend` says what "auto" means here.
        tensor: any tensor on the device of the later arguments.

    Raises:
        ValueError: there is no such backend.
        BackendError: the backend cannot run on this machine or on this device. Operations that it lacks raise when
            they are first asked for.
    """

    def __init__(self, backend: str, tensor: torch.Tensor) -> None:
        _check_device(backend, tensor)
        self.backend = "torch" if backend == "auto" and not tensor.is_cuda else backend
        self._tensor = tensor

    def __getattr__(self, operation: str) -> Callable:
        if operation not in OPERATIONS:
            raise AttributeError(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")
        self.__dict__[operation] = _implementation(self.backend, operation, self._tensor)
        return self.__dict__[operation]


@functools.cache
def _native() -> Any:
    """`yaie.kernels.native`, with the operations of all kernel families registered. Torch alone never loads it."""
    native = importlib.import_module("yaie.kernels.native")
    native.register_all()
    return native


def choose(backend: str, operation: str, on_gpu: bool, tables: Mapping[str, Mapping[str, Callable]]) -> Callable:
    """The function that runs `operation` for a caller who asked for `backend`.

    * A backend that was asked for by its name runs the operation itself, or nobody does: no other takes its place.
    * "auto" on the CPU is torch's function. It is never the emulator's, which is for looking at kernels.
    * "auto" on a GPU is the kernel of "cuda", if there is one, and torch's function whenever the kernel refuses the
      arguments (it raises `BackendError`) or if there is no kernel. Other errors of a kernel are not hidden.

    Args:
        backend: "auto" or a key of `tables`.
        operation: a key of `tables["torch"]`, which has all operations.
        on_gpu: whether the tensors are on a GPU.
        tables: for each backend its functions by operation.

    Returns:
        A function that passes its arguments, by position and by name, to the right one.

    Raises:
        BackendError: the named backend has no such operation; the message names those that have.
    """
    plain = tables["torch"][operation]
    if backend == "auto" and not on_gpu:
        return plain
    kernel = tables["cuda" if backend == "auto" else backend].get(operation)
    if backend != "auto":
        if kernel is None:
            able = ", ".join(name for name, functions in tables.items() if operation in functions)
            raise BackendError(f"backend {backend!r} has no kernel for {operation} here; available: {able}")
        return kernel
    if kernel is None:
        return plain

    def kernel_or_plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return kernel(*args, **kwargs)
        except BackendError:
            return plain(*args, **kwargs)

    return kernel_or_plain


def _implementation(backend: str, operation: str, tensor: torch.Tensor) -> Callable:
    _check_device(backend, tensor)
    if backend in ("cuda", "emulator") or (backend == "auto" and tensor.is_cuda):
        _native()
    return choose(backend, operation, tensor.is_cuda, registered)


def check_backend(backend: str) -> None:
    """Raise ValueError if there is no such backend, `BackendError` if it cannot run on this machine."""
    if backend in ("auto", "torch"):
        return
    if backend not in registered:
        raise ValueError(f"backend must be one of {('auto', *registered)}, got {backend!r}")
    if obstacle := _native().obstacle(backend):
        raise BackendError(f"backend {backend!r} cannot run on this machine: {obstacle}")


def _check_device(backend: str, tensor: torch.Tensor) -> None:
    check_backend(backend)
    if backend not in ("auto", "torch") and tensor.is_cuda != (backend == "cuda"):
        wanted = "a GPU" if backend == "cuda" else "the CPU"
        raise BackendError(f"backend {backend!r} takes tensors on {wanted}, got one on {tensor.device}")


# --- attention ----------------------------------------------------------------------------------------------


def attention_forward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    causal: bool = True,
    seq_lens: Sequence[int] | torch.Tensor | None = None,
    scale: float | None = None,
    backend: str = "auto",
) -> torch.Tensor:
    """Softmax attention over contiguous keys and values.

    Args:
        query: `[num_seqs, q_len, num_heads, head_dim]`.
        key, value: `[num_seqs, kv_len, num_kv_heads, head_dim]`; `num_kv_heads` divides `num_heads`.
        causal: each query sees keys up to its own position; the queries are the last `q_len` of `kv_len`.
        seq_lens: `[num_seqs]`, real tokens of each sequence, padding after them; needs `q_len == kv_len`.
            Padding is neither seen nor computed: its output is 0.
        scale: factor of the scores; None means `1 / sqrt(head_dim)`.

    Returns:
        Like query, in its dtype.

    Raises:
        ValueError: shapes, lengths or devices that do not fit.
        BackendError: the backend cannot run this here.
    """
    _require(query.ndim == 4, f"query must be [num_seqs, q_len, num_heads, head_dim], got {_shape(query)}")
    num_seqs, q_len, num_heads, head_dim = query.shape
    _require(
        key.ndim == 4 and key.shape == value.shape and (key.shape[0], key.shape[3]) == (num_seqs, head_dim),
        f"key and value must be [num_seqs={num_seqs}, kv_len, num_kv_heads, head_dim={head_dim}], "
        f"got {_shape(key)} and {_shape(value)}",
    )
    kv_len, num_kv_heads = key.shape[1], key.shape[2]
    _check_heads(num_heads, num_kv_heads)
    _require(not causal or q_len <= kv_len, f"causal: q_len={q_len} queries cannot be the last of {kv_len} tokens")
    _check_devices(query, key=key, value=value)
    if seq_lens is not None:
        seq_lens = _lengths("seq_lens", seq_lens, num_seqs)
        _require(q_len == kv_len, f"seq_lens needs q_len == kv_len, got {q_len} and {kv_len}")
        _require(all(0 <= n <= q_len for n in seq_lens), f"seq_lens must lie in 0..{q_len}, got {seq_lens}")
    run = _implementation(backend, "attention_forward", query)
    return run(query, key, value, causal, seq_lens, scale)


@register("torch", "attention_forward")
def _torch_attention_forward(query, key, value, causal, seq_lens, scale):
    q_len, kv_len = query.shape[1], key.shape[1]
    if query.numel() == 0 or kv_len == 0:
        return torch.zeros_like(query)
    offset = kv_len - q_len if causal else kv_len
    if seq_lens is None:
        return radix_attention.causal_attention(query, key, value, offset, None, scale)[0].to(query.dtype)
    out = torch.zeros_like(query)
    for s, n in enumerate(seq_lens):
        if n:
            part = query[s : s + 1, :n], key[s : s + 1, :n], value[s : s + 1, :n]
            out[s, :n] = radix_attention.causal_attention(*part, 0 if causal else n, None, scale)[0][0]
    return out


def plan_attention(
    block_tables: torch.Tensor,
    context_lens: Sequence[int] | torch.Tensor,
    query_lens: Sequence[int] | torch.Tensor | None,
    key_cache: torch.Tensor,
    *,
    backend: str = "auto",
) -> Any:
    """Check a batch over pages and prepare what `paged_attention_forward` needs, once for all layers of a step.

    Args:
        block_tables, context_lens, query_lens: as for `paged_attention_forward` with a flat query.
        key_cache: any layer of the cache; only its shape and device are used.

    Returns:
        A plan for `paged_attention_forward(..., plan=...)` of the same backend and queries in the cache's dtype.

    Raises:
        ValueError: lengths, block ids or devices that do not fit, naming the sequence.
        BackendError: the backend cannot run this here; a dtype or shape that it does not take is found out now, and
            not by the attention itself.
    """
    context_lens, query_lens = _check_pages(block_tables, context_lens, query_lens, key_cache)
    run = _implementation(backend, "plan_attention", key_cache)
    return run(block_tables, context_lens, query_lens, key_cache)


@register("torch", "plan_attention")
def _torch_plan_attention(block_tables, context_lens, query_lens, key_cache):
    _, block_size, num_kv_heads, _ = key_cache.shape
    return radix_attention.plan_attention(
        block_tables, context_lens, query_lens, block_size=block_size, num_kv_heads=num_kv_heads
    )


def paged_attention_forward(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_tables: torch.Tensor,
    context_lens: Sequence[int] | torch.Tensor,
    *,
    query_lens: Sequence[int] | torch.Tensor | None = None,
    scale: float | None = None,
    plan: Any = None,
    backend: str = "auto",
) -> torch.Tensor:
    """Causal attention over pages; the keys and values of the query tokens must be in the pages already.

    Args:
        query: `[num_seqs, q_len, num_heads, head_dim]`, or flat `[num_tokens, num_heads, head_dim]` with the
            tokens of each sequence next to each other.
        key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, contiguous: one layer.
        block_tables: `[num_seqs, max_blocks]`, int32 or int64; later entries may be anything.
        context_lens: `[num_seqs]`, tokens of each sequence in the pages, its queries included.
        query_lens: `[num_seqs]`, the number of queries of each sequence: the last tokens of its context,
            first in its row of `query`. None: `q_len` for all, or one for all if query is flat.
        scale: factor of the scores; None means `1 / sqrt(head_dim)`.
        plan: from `plan_attention` for the same batch, which has been checked there and is not checked again.

    Returns:
        Like query, in its dtype; 0 in rows beyond a sequence's `query_lens`.

    Raises:
        ValueError: shapes, lengths, block ids or devices that do not fit, naming the sequence.
        BackendError: the backend cannot run this here.
    """
    _check_cache(key_cache, value_cache, ndims=(4,))
    _require(
        query.ndim in (3, 4),
        f"query must be [num_seqs, q_len, num_heads, head_dim] or [num_tokens, ...], got {_shape(query)}",
    )
    num_heads, head_dim = query.shape[-2:]
    _check_heads(num_heads, key_cache.shape[2])
    _require(head_dim == key_cache.shape[3], f"head_dim is {head_dim} in query, {key_cache.shape[3]} in the cache")
    _check_devices(query, key_cache=key_cache, block_tables=block_tables)
    if plan is None:
        if query.ndim == 4:
            num_seqs, q_len = query.shape[:2]
            query_lens = [q_len] * num_seqs if query_lens is None else query_lens
        context_lens, query_lens = _check_pages(block_tables, context_lens, query_lens, key_cache)
        if query.ndim == 4:
            _require(len(query_lens) == num_seqs, f"{len(query_lens)} block tables for {num_seqs} sequences")
            _require(max(query_lens, default=0) <= q_len, f"query_lens {query_lens} exceed q_len={q_len}")
        else:
            total = sum(query_lens)
            _require(len(query) == total, f"query has {len(query)} rows for query_lens that add up to {total}")
    run = _implementation(backend, "paged_attention_forward", query)
    if query.ndim == 3 or plan is not None or query.shape[1] == 0:
        flat = query.flatten(0, -3)
        return run(flat, key_cache, value_cache, block_tables, context_lens, query_lens, scale, plan).view(query.shape)
    real = torch.arange(q_len, device=query.device) < torch.tensor(query_lens, device=query.device)[:, None]
    out = torch.zeros_like(query)
    out[real] = run(query[real], key_cache, value_cache, block_tables, context_lens, query_lens, scale, None)
    return out


@register("torch", "paged_attention_forward")
def _torch_paged_attention_forward(query, key_cache, value_cache, block_tables, context_lens, query_lens, scale, plan):
    if plan is None:
        plan = _torch_plan_attention(block_tables, context_lens, query_lens, key_cache)
    return radix_attention.paged_attention(query, key_cache, value_cache, plan, scale)


# --- memory -------------------------------------------------------------------------------------------------


def copy_blocks(
    key_cache: torch.Tensor, value_cache: torch.Tensor, block_mapping: torch.Tensor, *, backend: str = "auto"
) -> None:
    """Copy whole blocks inside the pool, in place: keys and values, in all layers that are given.

    Args:
        key_cache, value_cache: `[num_layers, num_blocks, block_size, num_kv_heads, head_dim]`, or one layer.
        block_mapping: `[num_pairs, 2]`, int32 or int64: source and destination of each copy.

    Raises:
        ValueError: ids outside the pool, or a destination that is named twice or is also a source: the copies
            run in no particular order, so these would depend on chance. Nothing is copied then.
        BackendError: the backend cannot run this here.
    """
    _check_cache(key_cache, value_cache, ndims=(4, 5))
    _check_devices(key_cache, block_mapping=block_mapping)
    _check_integers("block_mapping", block_mapping)
    _require(
        block_mapping.ndim == 2 and block_mapping.shape[1] == 2,
        f"block_mapping must be [num_pairs, 2] (source, destination), got {_shape(block_mapping)}",
    )
    num_blocks = key_cache.shape[-4]
    sources, destinations = block_mapping.t().tolist() if len(block_mapping) else ([], [])
    for pair in zip(sources, destinations, strict=True):
        _require(
            all(0 <= block < num_blocks for block in pair), f"pair {pair} is outside the pool of {num_blocks} blocks"
        )
    repeated = [block for block, count in Counter(destinations).items() if count > 1]
    _require(not repeated, f"blocks {repeated} are the destination of several copies")
    both = set(sources) & set(destinations)
    _require(not both, f"blocks {both} are source and destination")
    run = _implementation(backend, "copy_blocks", key_cache)
    run(key_cache, value_cache, block_mapping)


@register("torch", "copy_blocks")
def _torch_copy_blocks(key_cache, value_cache, block_mapping):
    sources, destinations = block_mapping.long().unbind(dim=1)
    for cache in (key_cache, value_cache):
        layers = cache if cache.ndim == 5 else cache[None]
        layers[:, destinations] = layers[:, sources]


def reshape_and_cache(
    key: torch.Tensor,
    value: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    backend: str = "auto",
) -> None:
    """Store the keys and values of new tokens in their slots (KV append), in place, in the dtype of the cache.

    Args:
        key, value: `[num_tokens, num_kv_heads, head_dim]`.
        key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, contiguous: one layer.
        slot_mapping: `[num_tokens]`, int32 or int64: slot `s` is row `s % block_size` of block `s //
            block_size`; -1 stores nothing (padding). Slots must differ; this is not checked.

    Raises:
        ValueError: shapes, slots or devices that do not fit. Nothing is stored then.
        BackendError: the backend cannot run this here.
    """
    _check_cache(key_cache, value_cache, ndims=(4,))
    expected = (slot_mapping.numel(), *key_cache.shape[2:])
    _require(
        slot_mapping.ndim == 1 and key.shape == expected and value.shape == expected,
        f"key and value must be [num_tokens={slot_mapping.numel()}, num_kv_heads={key_cache.shape[2]}, "
        f"head_dim={key_cache.shape[3]}] for slot_mapping [num_tokens], got {_shape(key)}, {_shape(value)} and "
        f"{_shape(slot_mapping)}",
    )
    _check_integers("slot_mapping", slot_mapping)
    _check_devices(key_cache, key=key, value=value, slot_mapping=slot_mapping)
    if not len(slot_mapping):
        return
    num_slots = key_cache.shape[0] * key_cache.shape[1]
    smallest, largest = (int(slot) for slot in slot_mapping.aminmax())
    _require(
        smallest >= -1 and largest < num_slots,
        f"slots must lie in 0..{num_slots - 1} (or be -1), got {smallest}..{largest}",
    )
    run = _implementation(backend, "reshape_and_cache", key)
    run(key, value, key_cache, value_cache, slot_mapping)


@register("torch", "reshape_and_cache")
def _torch_reshape_and_cache(key, value, key_cache, value_cache, slot_mapping):
    slot_mapping = slot_mapping.long()
    new_and_cache = ((key, key_cache), (value, value_cache))
    # On a CPU torch looks at every index anyhow, so padding is looked for only when it has complained.
    has_padding = slot_mapping.is_cuda and bool((slot_mapping < 0).any())
    if not has_padding:
        try:
            for new, cache in new_and_cache:
                cache.view(-1, *cache.shape[2:]).index_copy_(0, slot_mapping, new.to(cache.dtype))
        except IndexError:
            has_padding = True
    if has_padding:
        real = slot_mapping >= 0
        for new, cache in new_and_cache:
            cache.view(-1, *cache.shape[2:])[slot_mapping[real]] = new[real].to(cache.dtype)


def gather_pages(
    cache: torch.Tensor, block_table: torch.Tensor, context_len: int, *, backend: str = "auto"
) -> torch.Tensor:
    """Collect the first `context_len` tokens of a sequence from its pages.

    Args:
        cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, keys or values of one layer.
        block_table: `[max_blocks]`, int32 or int64; entries beyond the context may be anything.

    Returns:
        `[context_len, num_kv_heads, head_dim]`, a copy.

    Raises:
        ValueError: shapes, block ids or devices that do not fit.
        BackendError: the backend cannot run this here.
    """
    _check_cache(cache, cache, ndims=(4,))
    _require(block_table.ndim == 1, f"block_table must be [max_blocks], got {_shape(block_table)}")
    _check_pages(block_table[None], [context_len], [0], cache)
    return _implementation(backend, "gather_pages", cache)(cache, block_table, context_len)


@register("torch", "gather_pages")
def _torch_gather_pages(cache, block_table, context_len):
    return radix_attention.gather_pages(cache, block_table, context_len)


# --- what a decoder computes between its matrix products ------------------------------------------------------


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, *, residual: torch.Tensor | None = None, backend: str = "auto"
) -> torch.Tensor:
    """Divide each row by its root mean square and multiply by `weight`; with `residual`, add that to `x` first.

    Args:
        x: `[..., size]`.
        weight: `[size]`, in the dtype of `x`.
        eps: added to the mean square.
        residual: like `x`, contiguous. It is changed: it holds `x + residual` afterwards, and the norm is that of
            this sum, rounded to its dtype.

    Returns:
        Like `x`, contiguous.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit. Nothing is changed then.
        BackendError: the backend cannot run this here.
    """
    _require(
        x.ndim >= 1 and weight.shape == x.shape[-1:] and weight.dtype == x.dtype,
        f"weight must be [size] in the dtype of x [..., size], got {weight.dtype} {_shape(weight)} for "
        f"{x.dtype} {_shape(x)}",
    )
    _check_devices(x, weight=weight)
    if residual is not None:
        _require(
            residual.shape == x.shape and residual.dtype == x.dtype and residual.is_contiguous(),
            f"residual must be contiguous and like x, {x.dtype} {_shape(x)}, got {residual.dtype} {_shape(residual)}",
        )
        _check_devices(x, residual=residual)
    return _implementation(backend, "rms_norm", x)(x, weight, eps, residual)


@register("torch", "rms_norm")
def _torch_rms_norm(x, weight, eps, residual):
    if residual is None:
        return model_ops.rms_norm(x, weight, eps)
    return model_ops.add_rms_norm(x, residual, weight, eps)


def rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, backend: str = "auto") -> None:
    """Rotate the heads of every token to the token's position, in place.

    Args:
        x: `[num_tokens, num_heads, head_dim]`. The numbers of a token must lie in one piece, but the tokens may be
            apart: the query and key heads in the output of one matrix product are such a view.
        cos, sin: `[num_tokens, 1, head_dim / 2]`, float32, contiguous, from `radix_attention.rope_cos_sin`.

    Raises:
        ValueError: shapes, dtypes, layouts or devices that do not fit. Nothing is changed then.
        BackendError: the backend cannot run this here.
    """
    _require(
        x.ndim == 3 and x.shape[2] % 2 == 0 and x.stride()[1:] == (x.shape[2], 1),
        "x must be [num_tokens, num_heads, head_dim] with an even head_dim and the heads of a token in one piece, "
        f"got {_shape(x)} with strides {x.stride()}",
    )
    expected = (x.shape[0], 1, x.shape[2] // 2)
    for name, table in (("cos", cos), ("sin", sin)):
        _require(
            table.shape == expected and table.dtype == torch.float32 and table.is_contiguous(),
            f"{name} must be contiguous float32 {list(expected)}, got {table.dtype} {_shape(table)}",
        )
    _check_devices(x, cos=cos, sin=sin)
    _implementation(backend, "rope", x)(x, cos, sin)


@register("torch", "rope")
def _torch_rope(x, cos, sin):
    model_ops.rope(x, cos, sin)


def silu_mul(gate_up: torch.Tensor, *, backend: str = "auto") -> torch.Tensor:
    """`silu(gate) * up`, where the gate is the first half of each row of `gate_up` and up is the second.

    Args:
        gate_up: `[..., 2 * size]`.

    Returns:
        `[..., size]`, in the dtype of `gate_up`.

    Raises:
        ValueError: rows that have no two halves.
        BackendError: the backend cannot run this here.
    """
    _require(
        gate_up.ndim >= 1 and gate_up.shape[-1] % 2 == 0, f"gate_up must be [..., 2 * size], got {_shape(gate_up)}"
    )
    return _implementation(backend, "silu_mul", gate_up)(gate_up)


@register("torch", "silu_mul")
def _torch_silu_mul(gate_up):
    return model_ops.silu_mul(gate_up)


def embedding(table: torch.Tensor, token_ids: torch.Tensor, *, backend: str = "auto") -> torch.Tensor:
    """The row of `table` for every token.

    Args:
        table: `[vocab_size, hidden_size]`, contiguous.
        token_ids: `[num_tokens]`, int32 or int64. Ids on a GPU are not checked, because looking at them would make
            the CPU wait; a kernel of `csrc/` gives NaN for an id outside the table.

    Returns:
        `[num_tokens, hidden_size]`.

    Raises:
        ValueError: shapes, dtypes, devices or (on a CPU) ids that do not fit.
        BackendError: the backend cannot run this here.
    """
    _require(
        table.ndim == 2 and table.is_contiguous() and token_ids.ndim == 1,
        "table must be [vocab_size, hidden_size], contiguous, and token_ids [num_tokens], "
        f"got {_shape(table)} and {_shape(token_ids)}",
    )
    _check_integers("token_ids", token_ids)
    _check_devices(table, token_ids=token_ids)
    if token_ids.device.type == "cpu" and len(token_ids):
        smallest, largest = (int(token) for token in token_ids.aminmax())
        _require(
            smallest >= 0 and largest < len(table),
            f"token ids must lie in 0..{len(table) - 1}, got {smallest}..{largest}",
        )
    return _implementation(backend, "embedding", table)(table, token_ids)


@register("torch", "embedding")
def _torch_embedding(table, token_ids):
    return model_ops.embedding(table, token_ids)


# --- radix tree -----------------------------------------------------------------------------------------------


def match_prefixes(
    tree: radix_ops.FlatTree, tokens: torch.Tensor, lengths: Sequence[int] | torch.Tensor, *, backend: str = "auto"
) -> radix_ops.Positions:
    """The longest prefix of each row that a radix tree holds, in whole pages.

    Args:
        tree: from `radix_ops.flatten`, on the device of tokens.
        tokens: `[num_rows, max_len]`, int64.
        lengths: `[num_rows]`, tokens of each row; what comes after them may be anything.

    Returns:
        For each row the node in which the walk ended, the tokens of its edge that matched, and all that matched.

    Raises:
        ValueError: shapes, lengths or devices that do not fit.
        BackendError: the backend cannot run this here.
    """
    _require(
        tokens.ndim == 2 and tokens.dtype == torch.int64,
        f"tokens must be int64 [num_rows, max_len], got {tokens.dtype} {_shape(tokens)}",
    )
    _check_devices(tokens, edges=tree.edges, starts=tree.starts, children=tree.children)
    lengths = _lengths("lengths", lengths, len(tokens))
    _require(
        all(0 <= n <= tokens.shape[1] for n in lengths), f"lengths must lie in 0..{tokens.shape[1]}, got {lengths}"
    )
    return _implementation(backend, "match_prefixes", tokens)(tree, tokens, lengths)


@register("torch", "match_prefixes")
def _torch_match_prefixes(tree, tokens, lengths):
    return radix_ops.match_prefixes(tree, tokens, lengths)


def choose_victims(
    last_used: torch.Tensor, sizes: torch.Tensor, evictable: torch.Tensor, num_tokens: int, *, backend: str = "auto"
) -> torch.Tensor:
    """The nodes of a prefix cache that go, first to go first, to free at least `num_tokens` tokens (or all there are).

    Args:
        last_used: `[num_nodes]`, int64, from 0: the smallest goes first, among equals the higher number.
        sizes: `[num_nodes]`, int64, tokens of each node.
        evictable: `[num_nodes]`, bool.

    Returns:
        `[num_victims]`, int64, numbers of nodes.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or a negative number of tokens.
        BackendError: the backend cannot run this here.
    """
    _require(
        last_used.ndim == 1
        and last_used.shape == sizes.shape == evictable.shape
        and last_used.dtype == sizes.dtype == torch.int64
        and evictable.dtype == torch.bool,
        "last_used and sizes must be int64 and evictable bool, [num_nodes] each, got "
        f"{last_used.dtype} {_shape(last_used)}, {sizes.dtype} {_shape(sizes)}, {evictable.dtype} {_shape(evictable)}",
    )
    _check_devices(last_used, sizes=sizes, evictable=evictable)
    _require(num_tokens >= 0, f"num_tokens must be at least 0, got {num_tokens}")
    return _implementation(backend, "choose_victims", last_used)(last_used, sizes, evictable, num_tokens)


@register("torch", "choose_victims")
def _torch_choose_victims(last_used, sizes, evictable, num_tokens):
    return radix_ops.choose_victims(last_used, sizes, evictable, num_tokens)


# --- sampling -----------------------------------------------------------------------------------------------


def sample(
    logits: torch.Tensor,
    *args,
    seeds: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    backend: str = "auto",
    **kwargs,
) -> torch.Tensor:
    """Draw one token per row; arguments as for `SamplingKernel.sample`, or seeds in the place of generators.

    Args:
        seeds, steps: `[num_seqs]`, from 0 to 2**63 - 1. Row `i` takes number `steps[i]` of the sequence that belongs
            to `seeds[i]` (`sampling.counter_uniforms`). Nothing has a state, so a kernel makes the numbers itself.

    Returns:
        Token ids `[num_seqs]`, int64, on the device of logits. The same arguments give the same tokens in every
        backend, but for a draw that falls within rounding (about 1e-6 of the probability) between two tokens.

    Raises:
        ValueError: as `SamplingKernel.sample`; seeds without steps, of another number than rows, or out of range.
        BackendError: the backend cannot run this here.
    """
    if seeds is not None or steps is not None:
        num_seqs = logits.numel() // max(1, logits.shape[-1])
        _require(
            len(args) < 4 and kwargs.get("generator") is None, "seeds take the place of generator; give one of them"
        )
        _require(
            seeds is not None and steps is not None and len(seeds) == len(steps) == num_seqs,
            f"seeds and steps must have one number for each of {num_seqs} rows",
        )
        for name, numbers in (("seeds", seeds), ("steps", steps)):
            _require(
                all(0 <= number < 2**63 for number in numbers), f"{name} must be from 0 to 2**63 - 1, got {numbers}"
            )
        kwargs |= {"seeds": seeds, "steps": steps}
    return _implementation(backend, "sample", logits)(logits, *args, **kwargs)


@register("torch", "sample")
def _torch_sample(logits, *args, seeds=None, steps=None, **kwargs):
    if seeds is None:
        return SamplingKernel().sample(logits, *args, **kwargs)
    kwargs.pop("generator", None)
    probs = SamplingKernel().probabilities(logits, *args, **kwargs).view(-1, logits.shape[-1])
    return draw_tokens(probs, counter_uniforms(seeds, steps)).view(logits.shape[:-1])


# --- checks -------------------------------------------------------------------------------------------------


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _shape(tensor: torch.Tensor) -> list[int]:
    return list(tensor.shape)


def _check_heads(num_heads: int, num_kv_heads: int) -> None:
    _require(
        num_kv_heads > 0 and num_heads % num_kv_heads == 0,
        f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads}",
    )


def _check_devices(first: torch.Tensor, **others: torch.Tensor) -> None:
    for name, tensor in others.items():
        _require(tensor.device == first.device, f"{name} is on {tensor.device}, expected {first.device}")


def _check_integers(name: str, tensor: torch.Tensor) -> None:
    _require(tensor.dtype in (torch.int32, torch.int64), f"{name} must be int32 or int64, got {tensor.dtype}")


def _check_cache(key_cache: torch.Tensor, value_cache: torch.Tensor, ndims: tuple[int, ...]) -> None:
    _require(
        key_cache.ndim in ndims and key_cache.shape == value_cache.shape and key_cache.dtype == value_cache.dtype,
        "caches must be alike, [num_blocks, block_size, num_kv_heads, head_dim]"
        f"{' or with num_layers in front' if 5 in ndims else ''}, got {key_cache.dtype} {_shape(key_cache)} and "
        f"{value_cache.dtype} {_shape(value_cache)}",
    )
    _require(key_cache.is_contiguous() and value_cache.is_contiguous(), "caches must be contiguous")
    _check_devices(key_cache, value_cache=value_cache)


def _lengths(name: str, lengths: Sequence[int] | torch.Tensor, num_seqs: int) -> list[int]:
    lengths = lengths.tolist() if isinstance(lengths, torch.Tensor) else list(lengths)
    _require(
        len(lengths) == num_seqs and all(isinstance(n, int) for n in lengths),
        f"{name} must be {num_seqs} integers, got {lengths}",
    )
    return lengths


def _check_pages(block_tables, context_lens, query_lens, cache) -> tuple[list[int], list[int]]:
    """Check that every sequence's pages exist and hold its queries; return the lengths as lists."""
    _require(block_tables.ndim == 2, f"block_tables must be [num_seqs, max_blocks], got {_shape(block_tables)}")
    _check_integers("block_tables", block_tables)
    num_seqs, max_blocks = block_tables.shape
    num_blocks, block_size = cache.shape[:2]
    context_lens = _lengths("context_lens", context_lens, num_seqs)
    query_lens = [1] * num_seqs if query_lens is None else _lengths("query_lens", query_lens, num_seqs)
    for s, (context_len, query_len) in enumerate(zip(context_lens, query_lens, strict=True)):
        _require(
            0 <= query_len <= context_len <= max_blocks * block_size,
            f"sequence {s}: context_len={context_len} must hold query_len={query_len} tokens and fit into "
            f"{max_blocks} blocks of {block_size}",
        )
    used = torch.arange(max_blocks) < torch.tensor([-(-n // block_size) for n in context_lens])[:, None]
    tables = block_tables.cpu()
    if (wrong := used & ((tables < 0) | (tables >= num_blocks))).any():
        s, entry = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"sequence {s}: entry {entry} of its block table is {int(tables[s, entry])}, outside the pool of "
            f"{num_blocks} blocks"
        )
    return context_lens, query_lens
