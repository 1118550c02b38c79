"""Lesson 11: fused model operations: RMSNorm with the residual sum, RoPE, and the gate of the MLP as kernels."""

from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_sectors, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import native

LESSON = Lesson(11, "model_operations", "Fused model operations", minutes=100)


def _norm_by_formula(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.double()
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight.double()


def _numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Small whole numbers, so that a difference can be told from rounding."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).float()


@LESSON.exercise(
    "11.1",
    title="RMSNorm that reads its row once",
    target="csrc/model_ops/rms_norm.cu:rms_norm_2_kernel",
    minutes=25,
    requires=("5.1", "9.4"),
    task="One thread block norms one row, in three steps: each thread reads its packs, adds the residual to them if "
    "there is one (and writes the sum back there), and keeps them in registers; the block adds up all squares; each "
    "thread scales what it has kept and writes it to `out`. With x = [1, 7], a residual of [0, 0], a weight of [1, 1] "
    "and eps 0 the mean square is 25, the scale 1/5, and out = [0.2, 1.4].",
    hints=(
        "`Pack<T, N> kept[MOST_PACKS];` are the registers. Two loops over j = 0 ... MOST_PACKS - 1, both with "
        "`#pragma unroll` and the same index `i = threadIdx.x + j * blockDim.x`; packs with i >= `packs` do not exist.",
        "Between the loops: `const float scale = rsqrtf(block_sum(sum) / (packs * N) + eps);`. All threads must come "
        "to `block_sum`, also those that have no pack. Row r begins at pack `blockIdx.x * packs`, in 64 bits.",
        "First loop: kept[j] = x[row + i]; if (residual != nullptr) { kept[j] = added(kept[j], residual[row + i]); "
        "residual[row + i] = kept[j]; } sum += sum_of_squares(kept[j]); second loop: out[row + i] = scaled(kept[j], "
        "scale, weight[i]);",
    ),
    mutants=(
        Mutant(
            "                residual[row + i] = kept[j];\n",
            "",
            "The sum of x and residual was not written back. The next layer adds to it.",
        ),
        Mutant(
            "block_sum(sum)",
            "warp_sum(sum)",
            "Only the squares of the own warp were added up. A row belongs to the whole thread block: `block_sum`.",
        ),
        Mutant(
            "scaled(kept[j], scale, weight[i])",
            "scaled(residual != nullptr ? residual[row + i] : x[row + i], scale, weight[i])",
            "The result is right, but the row was read twice. Keep it in registers between the two loops.",
        ),
    ),
)
def check_rms_norm() -> None:
    module = native.module("model_ops/rms_norm.cu", "emulator", check=True)

    def run(x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float) -> torch.Tensor:
        out = torch.full_like(x, -1.0)
        module.rms_norm_2_one_pass(x, residual, weight, out, len(x), x.shape[1], eps, native.DTYPES[x.dtype])
        return out

    ones = torch.ones(2)
    with given("x = [[1, 7]], no residual, weight [1, 1], eps 0"):
        expect(run(torch.tensor([[1.0, 7.0]]), None, ones, 0.0), torch.tensor([[0.2, 1.4]]), "out", tolerance=1e-5)
    with given("x = [[1, 7]], residual [[2, -3]], weight [1, 1], eps 0"):
        residual = torch.tensor([[2.0, -3.0]])
        out = run(torch.tensor([[1.0, 7.0]]), residual, ones, 0.0)
        expect(residual, torch.tensor([[3.0, 4.0]]), "residual afterwards")
        expect(out, _norm_by_formula(residual, ones, 0.0), "out", tolerance=1e-5)
    for rows, size in ((3, 17), (2, 40), (2, 256), (1, 4200)):
        for with_residual in (False, True):
            x, weight = _numbers(rows, size), _numbers(size, seed=1)
            residual = _numbers(rows, size, seed=2) if with_residual else None
            total = x + residual if residual is not None else x
            name = "a residual of small numbers" if with_residual else "no residual"
            with given(f"x of {rows} rows of {size} small whole numbers, {name}, eps 1e-5"):
                out = run(x, residual, weight, 1e-5)
                if residual is not None:
                    expect(residual, total, "residual afterwards")
                expect(out, _norm_by_formula(total, weight, 1e-5), "out", tolerance=1e-4)
    x, weight = _numbers(2, 1024), _numbers(1024, seed=1)
    with given("profile of rms_norm_2_one_pass, 2 rows of 1024 floats, with a residual"):
        arguments = (x, x.clone(), weight, x.clone(), 2, 1024, 1e-5, 0)
        profile = module.profile("rms_norm_2_one_pass", *arguments)
        moved = sum(line.bytes_moved for line in profile.lines if line.space == "global")
        expect(moved // 4096, 10, "rows of 4096 bytes moved", note="2 of each of x, residual (twice), weight, out.")
        expect_sectors(profile, 16)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.double().chunk(2, dim=-1)
    cos, sin = cos[:, None].double(), sin[:, None].double()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


@LESSON.exercise(
    "11.2",
    title="RoPE in place",
    target="csrc/model_ops/rope.cu:rope_kernel",
    minutes=20,
    requires=("3.2", "9.1"),
    task="Turn the query and key heads of one token by its angles, in place. A head has two halves; number i of the "
    "first half and number i of the second are a pair (a, b), which becomes (a cos - b sin, b cos + a sin). A thread "
    "turns a pack of N neighbouring pairs at once. With one head [1, 2, 3, 4], cos = [0, 1] and sin = [1, 0], the "
    "pairs are (1, 3) and (2, 4), and the head becomes [-3, 2, 1, 4].",
    hints=(
        "There are num_heads * packs pieces of work for the threads of a block: `for (int i = threadIdx.x; i < "
        "num_heads * packs; i += blockDim.x)`. From i follow the head, i / packs, and the place of the pair in it, "
        "i % packs * N.",
        "`T* at = x + token * token_stride + head * 2 * half + pair` is the first number; its partner is `at[half]`. "
        "Read both packs into variables with `*reinterpret_cast<Pack<T, N>*>(at)` before you write either.",
        "for (int e = 0; e < N; ++e) { const float a = to_float(first.at[e]), b = to_float(second.at[e]); const float "
        "c = cos[token * half + pair + e], s = sin[token * half + pair + e]; first.at[e] = from_float<T>(a * c - b * "
        "s); second.at[e] = from_float<T>(b * c + a * s); } and write both packs back.",
    ),
    mutants=(
        Mutant(
            "first.at[e] = from_float<T>(a * c - b * s);",
            "first.at[e] = from_float<T>(a * c + b * s);",
            "The first number of a pair becomes a cos - b sin. With a plus the pair is not turned but mirrored.",
        ),
        Mutant(
            "cos[token * half + pair + e], s = sin[token * half + pair + e]",
            "cos[token * half + e], s = sin[token * half + e]",
            "Every pair of a head has an angle of its own: entry `pair + e` of its token.",
        ),
        Mutant(
            "token * token_stride",
            "token * num_heads * 2 * half",
            "Tokens lie `token_stride` numbers apart. Behind the heads that turn there are others, which do not.",
        ),
    ),
)
def check_rope() -> None:
    module = native.module("model_ops/rope.cu", "emulator", check=True)
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    with given("one token, one head [1, 2, 3, 4], cos = [0, 1], sin = [1, 0]"):
        module.rope_1_pairs(x, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), 1, 1, 4, 4, 0)
        expect(x, torch.tensor([[[-3.0, 2.0, 1.0, 4.0]]]), "x afterwards")
    for tokens, heads, others, head_dim in ((2, 1, 0, 4), (2, 3, 1, 4), (3, 2, 2, 16), (2, 7, 1, 10), (1, 9, 0, 64)):
        x = _numbers(tokens, heads + others, head_dim)
        angles = torch.arange(tokens * head_dim // 2).view(tokens, -1) * 0.7
        cos, sin = angles.cos(), angles.sin()
        wanted = x.double().clone()
        wanted[:, :heads] = _rotated(x[:, :heads], cos, sin)
        with given(
            f"{tokens} tokens of {heads} heads that turn and {others} that do not, head_dim {head_dim}, "
            "small whole numbers"
        ):
            arguments = (tokens, heads, head_dim, (heads + others) * head_dim, 0)
            got = x.clone()
            module.rope_2_packs(got, cos, sin, *arguments)
            expect(got, wanted, "x afterwards", tolerance=1e-4)


@LESSON.exercise(
    "11.3",
    title="The gate of the MLP",
    target="csrc/model_ops/silu_mul.cu:silu_mul_kernel",
    minutes=15,
    requires=("5.2", "9.1"),
    task="Each row of `gate_up` holds `packs` packs of the gate, then as many of up. Write silu(gate) * up, number by "
    "number, to the row of `out`, which has `packs` packs; silu(z) = z / (1 + exp(-z)). A thread makes one pack. With "
    "the row [1, 0, 2, 3] the gate is [1, 0], up is [2, 3], and the result is [1.462, 0].",
    hints=(
        "The row is `blockIdx.x`, the pack within it `blockIdx.y * blockDim.x + threadIdx.x`. Threads beyond the last "
        "pack have nothing to do.",
        "A row of gate_up is twice as long as a row of out: the gate's pack i is gate_up[row * 2 * packs + i], up's is "
        "`packs` further.",
        "for (int e = 0; e < N; ++e) { const float z = to_float(gate.at[e]); const T silu = from_float<T>(z / (1.0f + "
        "expf(-z))); result.at[e] = from_float<T>(to_float(silu) * to_float(up.at[e])); } out[row * packs + i] = "
        "result;",
    ),
    mutants=(
        Mutant(
            "    const Pack<T, N> gate = gate_up[row * 2 * packs + i];\n"
            "    const Pack<T, N> up = gate_up[row * 2 * packs + packs + i];\n",
            "    const Pack<T, N> up = gate_up[row * 2 * packs + i];\n"
            "    const Pack<T, N> gate = gate_up[row * 2 * packs + packs + i];\n",
            "Gate and up changed places: silu goes over the first half of the row.",
        ),
        Mutant(
            "from_float<T>(z / (1.0f + expf(-z)))",
            "from_float<T>(1.0f / (1.0f + expf(-z)))",
            "That is the sigmoid. silu(z) is z times the sigmoid of z.",
        ),
        Mutant(
            "    if (i >= packs) {\n        return;\n    }\n",
            "",
            "Threads beyond the last pack of a row must do nothing.",
        ),
    ),
)
def check_silu_mul() -> None:
    module = native.module("model_ops/silu_mul.cu", "emulator", check=True)
    for rows in ([[1.0, 0.0, 2.0, 3.0]], [[-1.0, 2.0, 0.5, -3.0, 1.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]):
        gate_up = torch.tensor(rows)
        gate, up = gate_up.double().chunk(2, dim=-1)
        out = torch.full(gate.shape, -1.0)
        with given(f"gate_up = {rows}"):
            module.silu_mul_2_packs(gate_up, out, len(rows), gate.shape[1], 0)
            expect(out, gate * torch.sigmoid(gate) * up, "out", tolerance=1e-4)
    for num_rows, size in ((3, 16), (2, 33), (2, 1200)):
        gate_up = _numbers(num_rows, 2 * size)
        gate, up = gate_up.double().chunk(2, dim=-1)
        out = torch.full(gate.shape, -1.0)
        with given(f"gate_up of {num_rows} rows of 2 * {size} small whole numbers"):
            module.silu_mul_2_packs(gate_up, out, num_rows, size, 0)
            expect(out, gate * torch.sigmoid(gate) * up, "out", tolerance=1e-4)
    with given("profile of silu_mul_2_packs, 2 rows of 2 * 1024 floats"):
        profile = module.profile("silu_mul_2_packs", _numbers(2, 2048), torch.zeros(2, 1024), 2, 1024, 0)
        expect_sectors(profile, 16)
