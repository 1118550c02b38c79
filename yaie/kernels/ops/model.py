"""What a decoder computes between its matrix products: norms, rotary positions, gates, the embedding."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from yaie.kernels import model_ops
from yaie.kernels import rope as rotary
from yaie.kernels.checks import FLOATS, INTEGERS, Sizes, describe, indices, number, require, writable
from yaie.kernels.ops.launching import Backend, Family, Launching, checked, dtype_code, run

__all__ = ["embedding", "rms_norm", "rope", "silu_mul"]

TAKES = "the kernels of model_ops take"
Norms = tuple[Tensor | None, Tensor | None]
LARGEST_HEAD_DIM = 256  # of csrc/model_ops/rope_and_cache.cu; the kernels for each step take larger ones


@cache
@torch.inference_mode(False)
def _constant(number: float, device: torch.device) -> Tensor:
    """A number as a float32 tensor, made once: a step would make the same one for each of its norms."""
    return torch.tensor(number, dtype=torch.float32, device=device)


class Torch(Family):
    # Rungs 2 take fewer calls, and overwrite what is no longer needed. (torch.nn.functional.rms_norm is one call, and
    # yet it is slower: 9 us for a row of 128 numbers on an AMD EPYC with torch 2.13, 2026-11-29; rung 2 takes 7.)
    RUNGS = {
        "rms_norm": {1: "model_ops.rms_norm", 2: "in place, for float32"},
        "rope": {1: "rope.rotate", 2: "rope.rotate_in_place, for float32"},
    }

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> Tensor:
        """Divide each row of `x` `[..., size]` by its root mean square and multiply by `weight` `[size]`; contiguous.

        `eps` is added to the mean square. A `residual` is like `x`, contiguous, and is changed: it holds `x + residual`
        afterwards, and the norm is that of this sum, rounded to its dtype.
        """
        if residual is not None:
            x = residual.add_(x)
        if self.rungs["rms_norm"] == 1 or x.dtype != torch.float32:
            return model_ops.rms_norm(x, weight, eps)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        # Of a tracer's tensors (`torch.export`), which end with it, none is kept.
        least = _constant(eps, x.device) if type(length) is Tensor else length.new_tensor(eps)
        scale = torch.addcmul(least, length, length, value=1 / max(1, x.shape[-1])).rsqrt_()
        return (x * scale).mul_(weight)

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotate the heads of every token to the token's position, in place (`rope.rotate`).

        x: `[num_tokens, num_heads, head_dim]`. The heads of a token must be contiguous, but the tokens may be apart:
            the query and key heads in the output of one matrix product are such a view.
        cos, sin: `[num_tokens, 1, head_dim / 2]`, float32, contiguous, from `rope.rope_cos_sin`
        """
        if self.rungs["rope"] == 1 or x.dtype != cos.dtype:
            x.copy_(rotary.rotate(x, cos, sin))
        else:
            rotary.rotate_in_place(x, cos, sin)

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """`model_ops.silu_mul`."""
        return model_ops.silu_mul(gate_up)

    def embedding(self, table: Tensor, token_ids: Tensor) -> Tensor:
        """The row of `table` `[vocab_size, hidden_size]`, contiguous, for every one of `token_ids` `[num_tokens]`.

        On a GPU ids are not looked at, because that would make the CPU wait; a kernel gives NaN for one outside.
        """
        return F.embedding(token_ids, table)

    def split_heads(
        self, num_kv_heads: int, heads: Tensor, norms: Norms, eps: float, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value `[num_tokens, heads, head_dim]`, normalised and rotated, perhaps views of `heads`.

        heads: `[num_tokens, num_heads + 2 * num_kv_heads, head_dim]`, contiguous: the heads of query, key and value as
            one matrix product gives them. It may be changed.
        norms: the weights `[head_dim]` of `rms_norm` for query and key; None, None: they are not normalised
        cos, sin: as for `rope`
        """
        num_turning = heads.shape[1] - num_kv_heads
        query, key, value = heads.split_with_sizes((num_turning - num_kv_heads, num_kv_heads, num_kv_heads), dim=1)
        if norms[0] is None:
            self.rope(heads.narrow(1, 0, num_turning), cos, sin)  # query and key turn alike, so one call rotates both
        else:
            query, key = (self.rms_norm(x, norm, eps, None) for x, norm in zip((query, key), norms, strict=True))
            self.rope(query, cos, sin)
            self.rope(key, cos, sin)
        return query, key, value

    def rope_and_cache(
        self,
        heads: Tensor,
        norms: Norms,
        eps: float,
        cos: Tensor,
        sin: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        slot_mapping: Tensor,
    ) -> Tensor:
        """`split_heads`, then `reshape_and_cache` of key and value; the query is returned, `heads` may be changed."""
        query, key, value = self.split_heads(key_cache.shape[2], heads, norms, eps, cos, sin)
        self.reshape_and_cache(key, value, key_cache, value_cache, slot_mapping)
        return query


class Kernels(Launching):
    RUNGS = {
        "rms_norm": {
            1: ("model_ops/rms_norm.cu", "rms_norm_1_two_pass"),
            2: ("model_ops/rms_norm.cu", "rms_norm_2_one_pass"),
        },
        "rope": {1: ("model_ops/rope.cu", "rope_1_pairs"), 2: ("model_ops/rope.cu", "rope_2_packs")},
        "silu_mul": {
            1: ("model_ops/silu_mul.cu", "silu_mul_1_elements"),
            2: ("model_ops/silu_mul.cu", "silu_mul_2_packs"),
        },
        "rope_and_cache": {
            1: ("memory/reshape_and_cache.cu", "reshape_and_cache"),  # after rms_norm and rope
            2: ("model_ops/rope_and_cache.cu", "rope_and_cache"),  # all three in one launch
        },
    }
    STEP_FILES = tuple(f"model_ops/{name}.cu" for name in (*RUNGS, "embedding"))

    def rms_norm(self, x, weight, eps, residual):
        dtype, x = dtype_code(x, TAKES), x.contiguous()
        out, size = torch.empty_like(x), x.shape[-1]
        num_rows = x.numel() // max(size, 1)
        launch = self.launch[self.chosen["rms_norm"]]
        launch(x, residual, weight.contiguous(), out, num_rows, size, eps, dtype)
        return out

    def rope(self, x, cos, sin):
        dtype = dtype_code(x, TAKES)
        if x.numel() == 0:
            return
        num_tokens, num_heads, head_dim = x.shape
        # From the first number that turns to the last: launchers take tensors without gaps, and the gaps here are rows
        # of other heads, which the kernel steps over.
        span = x.as_strided(((num_tokens - 1) * x.stride(0) + num_heads * head_dim,), (1,))
        launch = self.launch[self.chosen["rope"]]
        launch(span, cos, sin, num_tokens, num_heads, head_dim, x.stride(0), dtype)

    def silu_mul(self, gate_up):
        dtype, gate_up = dtype_code(gate_up, TAKES), gate_up.contiguous()
        size = gate_up.shape[-1] // 2
        out = gate_up.new_empty(*gate_up.shape[:-1], size)
        self.launch[self.chosen["silu_mul"]](gate_up, out, gate_up.numel() // max(2 * size, 1), size, dtype)
        return out

    def embedding(self, table, token_ids):
        out = table.new_empty(len(token_ids), table.shape[1])
        self.launch["model_ops/embedding.cu", "embedding"](
            table, token_ids.long().contiguous(), out, len(token_ids), len(table), table.shape[1] * table.element_size()
        )
        return out

    split_heads = Torch.split_heads

    def rope_and_cache(self, heads, norms, eps, cos, sin, key_cache, value_cache, slot_mapping):
        dtype = dtype_code(heads, TAKES)
        # Whoever asked for a rung of what is done here wants to see it run.
        apart = self.rungs["rope_and_cache"] == 1 or not self.asked.keys().isdisjoint(("rms_norm", "rope"))
        if apart or heads.dtype != key_cache.dtype or heads.shape[2] > LARGEST_HEAD_DIM:
            return Torch.rope_and_cache(self, heads, norms, eps, cos, sin, key_cache, value_cache, slot_mapping)
        (num_tokens, num_all, head_dim), num_kv_heads = heads.shape, key_cache.shape[2]
        num_heads = num_all - 2 * num_kv_heads
        query = heads.new_empty(num_tokens, num_heads, head_dim)
        tensors = heads, *norms, cos, sin, key_cache, value_cache, slot_mapping, query
        self.launch[self.chosen["rope_and_cache"]](*tensors, num_tokens, num_heads, num_kv_heads, head_dim, eps, dtype)
        return query


@checked(Torch)
def rms_norm(
    x: Tensor, weight: Tensor, eps: float, *, residual: Tensor | None = None, backend: Backend = "auto"
) -> Tensor:
    sizes = Sizes()
    sizes.take("... size", FLOATS, x=x)
    sizes.take("size", [x.dtype], weight=weight)
    eps = number("eps", eps, 0)
    if residual is not None:
        sizes.take("... size", [x.dtype], contiguous=True, residual=residual)
        require(residual.shape == x.shape, f"residual must be like x, {describe(x)}", residual)
        writable({"residual": residual}, {"x": x, "weight": weight})
    return run(backend, "rms_norm", x, x, weight, eps, residual)


@checked(Torch)
def rope(x: Tensor, cos: Tensor, sin: Tensor, *, backend: Backend = "auto") -> None:
    sizes = Sizes()
    sizes.take("num_tokens num_heads head_dim", FLOATS, x=x)
    apart = x.shape[0] < 2 or x.stride(0) >= x.shape[1] * x.shape[2]
    require(
        x.shape[2] % 2 == 0 and (x.numel() == 0 or (x.stride()[1:] == (x.shape[2], 1) and apart)),
        "x must have an even head_dim, the heads of each token contiguous and tokens apart, "
        f"got {list(x.shape)} with strides {x.stride()}",
    )
    sizes["head_dim/2"] = sizes["head_dim"] // 2
    for table in ({"cos": cos}, {"sin": sin}):
        sizes.take("num_tokens 1 head_dim/2", [torch.float32], contiguous=True, **table)
    writable({"x": x}, {"cos": cos, "sin": sin})
    run(backend, "rope", x, x, cos, sin)


@checked(model_ops)
def silu_mul(gate_up: Tensor, *, backend: Backend = "auto") -> Tensor:
    Sizes().take("... 2*size", FLOATS, gate_up=gate_up)
    require(gate_up.shape[-1] % 2 == 0, f"gate_up must be [..., 2 * size], got {list(gate_up.shape)}")
    return run(backend, "silu_mul", gate_up, gate_up)


@checked(Torch)
def embedding(table: Tensor, token_ids: Tensor, *, backend: Backend = "auto") -> Tensor:
    sizes = Sizes()
    sizes.take("vocab_size hidden_size", contiguous=True, table=table)
    sizes.take("num_tokens", INTEGERS, token_ids=token_ids)
    if token_ids.device.type == "cpu":
        indices("token ids", token_ids, sizes["vocab_size"])
    return run(backend, "embedding", table, table, token_ids)
