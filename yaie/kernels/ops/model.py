"""What a decoder computes between its matrix products: norms, rotary positions, gates, the embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from yaie.kernels import model_ops
from yaie.kernels import rope as rotary
from yaie.kernels.checks import FLOATS, INTEGERS, Sizes, describe, indices, number, require, writable
from yaie.kernels.ops.launching import Backend, Family, Launching, checked, dtype_code, run

__all__ = ["embedding", "rms_norm", "rope", "silu_mul"]

TAKES = "the kernels of model_ops take"


class Torch(Family):
    # Rungs 2 take fewer calls, and overwrite what is no longer needed. (torch.nn.functional.rms_norm is one call, and
    # yet it made a decode step of the tiny model on a CPU about 10% slower.)
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
        scale = (x * x).sum(-1, keepdim=True).mul_(1 / max(1, x.shape[-1])).add_(eps).rsqrt_()
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
