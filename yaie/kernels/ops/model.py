"""What a decoder computes between its matrix products: norms, rotary positions, gates, the embedding."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from yaie.kernels import model_ops
from yaie.kernels import rope as rotary
from yaie.kernels.ops import checks
from yaie.kernels.ops.checks import require, shape
from yaie.kernels.ops.launching import Family, Launching, dtype_code

TAKES = "the kernels of model_ops take"


class Model(ABC):
    @abstractmethod
    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> Tensor:
        """Divide each row by its root mean square and multiply by `weight`; with `residual`, add that to `x` first.

        Args:
            x: `[..., size]`.
            weight: `[size]`, in the dtype of `x`.
            eps: added to the mean square.
            residual: like `x`, contiguous. It is changed: it holds `x + residual` afterwards, and the norm is that of
                this sum, rounded to its dtype.

        Returns:
            Like `x`, contiguous.
        """

    @abstractmethod
    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotate the heads of every token to the token's position, in place (`rope.rotate`).

        Args:
            x: `[num_tokens, num_heads, head_dim]`. The heads of a token must be contiguous, but the tokens may be
                apart: the query and key heads in the output of one matrix product are such a view.
            cos, sin: `[num_tokens, 1, head_dim / 2]`, float32, contiguous, from `rope.rope_cos_sin`.
        """

    @abstractmethod
    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """`silu(gate) * up`, where the gate is the first half of each row of `gate_up` and up is the second.

        `[..., 2 * size]` to `[..., size]`, in the dtype of `gate_up`.
        """

    @abstractmethod
    def embedding(self, table: Tensor, token_ids: Tensor) -> Tensor:
        """The row of `table` for every token: `[num_tokens, hidden_size]`.

        Args:
            table: `[vocab_size, hidden_size]`, contiguous.
            token_ids: `[num_tokens]`, int32 or int64. On a GPU they are not looked at, because that would make the
                CPU wait; a kernel gives NaN for an id outside the table.
        """


class Torch(Family, Model):
    # Rungs 2 take fewer calls, and write over what is of no use any more.
    RUNGS = {
        "rms_norm": {1: "model_ops.rms_norm", 2: "in place, for float32"},
        "rope": {1: "rope.rotate", 2: "rope.rotate_in_place, for float32"},
    }

    def rms_norm(self, x, weight, eps, residual):
        if residual is not None:
            x = residual.add_(x)
        if self.rungs["rms_norm"] == 1 or x.dtype != torch.float32:
            return model_ops.rms_norm(x, weight, eps)
        scale = (x * x).sum(-1, keepdim=True).mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
        return (x * scale).mul_(weight)

    def rope(self, x, cos, sin):
        if self.rungs["rope"] == 1 or x.dtype != cos.dtype:
            x.copy_(rotary.rotate(x, cos, sin))
        else:
            rotary.rotate_in_place(x, cos, sin)

    def silu_mul(self, gate_up):
        return model_ops.silu_mul(gate_up)

    def embedding(self, table, token_ids):
        return F.embedding(token_ids, table)


class Kernels(Launching, Model):
    RUNGS = {
        "rms_norm": {1: "rms_norm_1_two_pass", 2: "rms_norm_2_one_pass"},
        "rope": {1: "rope_1_pairs", 2: "rope_2_packs"},
        "silu_mul": {1: "silu_mul_1_elements", 2: "silu_mul_2_packs"},
    }
    STEP_FILES = tuple(f"model_ops/{name}.cu" for name in (*RUNGS, "embedding"))

    def rms_norm(self, x, weight, eps, residual):
        dtype, x = dtype_code(x, TAKES), x.contiguous()
        out, size = torch.empty_like(x), x.shape[-1]
        launcher = Kernels.RUNGS["rms_norm"][self.rungs["rms_norm"]]
        self.launch["model_ops/rms_norm.cu", launcher](
            x, residual, weight.contiguous(), out, x.numel() // max(size, 1), size, eps, dtype
        )
        return out

    def rope(self, x, cos, sin):
        dtype = dtype_code(x, TAKES)
        if x.numel() == 0:
            return
        num_tokens, num_heads, head_dim = x.shape
        # From the first number that turns to the last: launchers take tensors without gaps, and the gaps here are rows
        # of other heads, which the kernel steps over.
        span = x.as_strided(((num_tokens - 1) * x.stride(0) + num_heads * head_dim,), (1,))
        launcher = Kernels.RUNGS["rope"][self.rungs["rope"]]
        self.launch["model_ops/rope.cu", launcher](span, cos, sin, num_tokens, num_heads, head_dim, x.stride(0), dtype)

    def silu_mul(self, gate_up):
        dtype, gate_up = dtype_code(gate_up, TAKES), gate_up.contiguous()
        size = gate_up.shape[-1] // 2
        out = gate_up.new_empty(*gate_up.shape[:-1], size)
        launcher = Kernels.RUNGS["silu_mul"][self.rungs["silu_mul"]]
        self.launch["model_ops/silu_mul.cu", launcher](gate_up, out, gate_up.numel() // max(2 * size, 1), size, dtype)
        return out

    def embedding(self, table, token_ids):
        out = table.new_empty(len(token_ids), table.shape[1])
        self.launch["model_ops/embedding.cu", "embedding"](
            table, token_ids.long().contiguous(), out, len(token_ids), len(table), table.shape[1] * table.element_size()
        )
        return out


# --- checks -------------------------------------------------------------------------------------------------


def check_rms_norm(x: Tensor, weight: Tensor, residual: Tensor | None) -> None:
    require(
        x.ndim >= 1 and weight.shape == x.shape[-1:] and weight.dtype == x.dtype,
        f"weight must be [size] in the dtype of x [..., size], got {weight.dtype} {shape(weight)} for "
        f"{x.dtype} {shape(x)}",
    )
    checks.devices(x, weight=weight)
    if residual is not None:
        require(
            residual.shape == x.shape and residual.dtype == x.dtype and residual.is_contiguous(),
            f"residual must be contiguous and like x, {x.dtype} {shape(x)}, got {residual.dtype} {shape(residual)}",
        )
        checks.devices(x, residual=residual)


def check_rope(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    require(
        x.ndim == 3 and x.shape[2] % 2 == 0 and x.stride()[1:] == (x.shape[2], 1),
        "x must be [num_tokens, num_heads, head_dim] with an even head_dim and the heads of a token contiguous, "
        f"got {shape(x)} with strides {x.stride()}",
    )
    expected = (x.shape[0], 1, x.shape[2] // 2)
    for name, table in (("cos", cos), ("sin", sin)):
        require(
            table.shape == expected and table.dtype == torch.float32 and table.is_contiguous(),
            f"{name} must be contiguous float32 {list(expected)}, got {table.dtype} {shape(table)}",
        )
    checks.devices(x, cos=cos, sin=sin)


def check_silu_mul(gate_up: Tensor) -> None:
    two_halves = gate_up.ndim >= 1 and gate_up.shape[-1] % 2 == 0
    require(two_halves, f"gate_up must be [..., 2 * size], got {shape(gate_up)}")


def check_embedding(table: Tensor, token_ids: Tensor) -> None:
    require(
        table.ndim == 2 and table.is_contiguous() and token_ids.ndim == 1,
        "table must be [vocab_size, hidden_size], contiguous, and token_ids [num_tokens], "
        f"got {shape(table)} and {shape(token_ids)}",
    )
    checks.integers("token_ids", token_ids)
    checks.devices(table, token_ids=token_ids)
    if token_ids.device.type == "cpu" and len(token_ids):
        smallest, largest = (int(token) for token in token_ids.aminmax())
        inside = smallest >= 0 and largest < len(table)
        require(inside, f"token ids must lie in 0..{len(table) - 1}, got {smallest}..{largest}")
