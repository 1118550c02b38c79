"""Attention over contiguous keys and values."""

from collections.abc import Sequence

import torch
from torch import Tensor

from yaie.kernels import attention
from yaie.kernels.checks import FLOATS, Sizes, flag, integers, number, require
from yaie.kernels.ops import launching
from yaie.kernels.ops.launching import Backend, BackendError, Family, Launching, aligned, checked, dtype_code, run

__all__ = ["attention_forward"]

LARGEST_HEAD_DIM = 256  # as in csrc/flash_attention and csrc/paged_attention
HOPPER_HEAD_DIMS, LARGEST_HOPPER_GROUP = (64, 128), 128  # of rungs 5 and 6


class Torch(Family):
    RUNGS = {
        "attention": {1: "attention.attention: all scores in memory", 2: "PyTorch's flash kernel where it applies"}
    }

    def attention_forward(
        self, query: Tensor, key: Tensor, value: Tensor, causal: bool = True, scale: float | None = None
    ) -> Tensor:
        """Softmax attention over contiguous keys and values. Like query, in its dtype.

        query: `[num_seqs, q_len, num_heads, head_dim]`
        key, value: `[num_seqs, kv_len, num_kv_heads, head_dim]`; `num_kv_heads` divides `num_heads`
        causal: each query sees keys up to its own position; the queries are the last `q_len` of `kv_len`
        scale: factor of the scores; None means `1 / sqrt(head_dim)`
        """
        q_len, kv_len = query.shape[1], key.shape[1]
        if query.numel() == 0 or kv_len == 0:
            return torch.zeros_like(query)
        offset, fast = kv_len - q_len if causal else kv_len, self.rungs["attention"] > 1
        return attention.causal_attention(query, key, value, offset, None, scale, fast=fast)[0].to(query.dtype)


class Kernels(Launching):
    RUNGS = {
        "flash_attention": {
            1: launching.named_as_file("flash_attention/flash_attention_1_naive"),
            2: launching.named_as_file("flash_attention/flash_attention_2_tiles"),
            3: launching.named_as_file("flash_attention/flash_attention_3_registers"),
            4: launching.named_as_file("flash_attention/flash_attention_4_tensor_cores"),
            # For Hopper, and for some shapes (see flash_rung); else rung 4.
            5: launching.named_as_file("flash_attention/flash_attention_5_wgmma"),
            6: launching.named_as_file("flash_attention/flash_attention_6_overlap"),
        }
    }
    STEP_FILES = (RUNGS["flash_attention"][4][0], RUNGS["flash_attention"][6][0])

    def attention_forward(self, query, key, value, causal=True, scale=None):
        (num_seqs, q_len), kv_len = query.shape[:2], key.shape[1]
        if query.numel() == 0 or kv_len == 0:
            return torch.zeros_like(query)
        packed = [tensor.flatten(0, 1) for tensor in (query, key, value)]
        starts = torch.arange(num_seqs + 1, dtype=torch.int32, device=query.device)
        out = self.flash_attention(*packed, starts * q_len, starts * kv_len, q_len, kv_len, causal, scale)
        return out.view_as(query)

    def flash_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_q_len: int,
        max_kv_len: int,
        causal: bool = True,
        scale: float | None = None,
    ) -> Tensor:
        """Attention of packed sequences of different lengths by the rung that was asked for, or the best. Like query; a
        query that sees no key gets 0.

        query: `[total_q, num_heads, head_dim]`, the sequences one after the other
        key, value: `[total_k, num_kv_heads, head_dim]`, of query's dtype
        cu_seqlens_q, cu_seqlens_k: `[num_seqs + 1]`, int32: where the rows of each sequence begin, and the total
        max_q_len, max_kv_len: the longest sequence; to read it from the tensors would be to wait for the GPU
        """
        if key.dtype != query.dtype or value.dtype != query.dtype:
            raise BackendError(f"flash attention takes one dtype, got {query.dtype}, {key.dtype} and {value.dtype}")
        total_q, num_heads, head_dim = query.shape
        code = dtype_code(query, "flash attention takes")
        check_head_dim(head_dim, "flash attention")
        rung = self.flash_rung(query.dtype, head_dim, num_heads // max(1, key.shape[1]))
        num_seqs = len(cu_seqlens_q) - 1
        if (most := max(num_seqs, num_heads)) > launching.MAX_GRID:
            raise BackendError(f"flash attention takes up to {launching.MAX_GRID} sequences and heads, not {most}")
        if rung >= 4:
            query, scale = with_positive_scale(query, scale)
        scale = head_dim**-0.5 if scale is None else scale
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        tensors = [aligned(query), aligned(key), aligned(value), out]
        lengths: list = [cu_seqlens_q, cu_seqlens_k, num_seqs, max_q_len]
        if rung == 1:  # the only one that keeps scores in memory
            tensors.append(query.new_empty(total_q, num_heads, max_kv_len, dtype=torch.float32))
            lengths.append(max_kv_len)
        if rung == 6:
            tensors.append(query.new_empty(1, dtype=torch.int32))  # counts the tiles that have been taken
        if rung >= 5:
            lengths += [total_q, len(key)]
        self.launch[Kernels.RUNGS["flash_attention"][rung]](
            *tensors, *lengths, num_heads, key.shape[1], head_dim, scale, int(causal), code
        )
        return out

    def flash_rung(self, dtype: torch.dtype, head_dim: int, group: int) -> int:
        """The rung that computes such an input, with `group` query heads on a head of keys: the one asked for, or the
        fastest for this card that can. BackendError: the one that was asked for cannot, and no other will do."""
        if dtype.itemsize != 2:
            best = 3  # tensor cores take 16-bit types
        else:
            best = 6 if head_dim in HOPPER_HEAD_DIMS and group <= LARGEST_HOPPER_GROUP else 4
        rung = self.rungs["flash_attention"]
        if rung > best and self.strict and "flash_attention" in self.asked:
            problem = f"{dtype} with head_dim {head_dim} and {group} heads on one of keys"
            raise BackendError(f"rung {rung} of flash attention cannot do {problem}; rung {best} can")
        return min(rung, best)


def with_positive_scale(query: Tensor, scale: float | None) -> tuple[Tensor, float]:
    """Query and scale of the same scores with a scale above 0: rungs 4 to 6 look for the largest score first."""
    if scale is None or scale > 0:
        return query, query.shape[-1] ** -0.5 if scale is None else scale
    return (-query, -scale) if scale < 0 else (torch.zeros_like(query), 1.0)


def check_head_dim(head_dim: int, what: str) -> None:
    """Raise `BackendError` for a head_dim that the kernels of attention do not take."""
    if head_dim % 8 or not 8 <= head_dim <= LARGEST_HEAD_DIM:
        raise BackendError(f"{what} takes a head_dim that is a multiple of 8 up to {LARGEST_HEAD_DIM}, not {head_dim}")


@checked(Torch)
def attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    causal: bool = True,
    seq_lens: Sequence[int] | Tensor | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """`seq_lens` `[num_seqs]` are the real tokens of each sequence, padding after them; they need `q_len == kv_len`.
    Padding is neither seen nor computed: its output is 0.
    """
    sizes = Sizes()
    sizes.take("num_seqs q_len num_heads head_dim", FLOATS, query=query)
    sizes.take("num_seqs kv_len num_kv_heads head_dim", [query.dtype], key=key, value=value)
    sizes.check_heads()
    causal, scale = flag("causal", causal), None if scale is None else number("scale", scale)
    q_len, kv_len = sizes["q_len"], sizes["kv_len"]
    require(not causal or q_len <= kv_len, f"causal: q_len={q_len} queries cannot be the last of {kv_len} tokens")
    if seq_lens is None:
        return run(backend, "attention_forward", query, query, key, value, causal, scale)
    require(q_len == kv_len, f"seq_lens needs q_len == kv_len, got {q_len} and {kv_len}")
    out = torch.zeros_like(query)
    for s, n in enumerate(integers("seq_lens", seq_lens, sizes["num_seqs"], most=q_len)):
        real = query[s : s + 1, :n], key[s : s + 1, :n], value[s : s + 1, :n]
        out[s : s + 1, :n] = run(backend, "attention_forward", query, *real, causal, scale)
    return out
