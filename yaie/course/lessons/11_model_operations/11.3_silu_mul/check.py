from __future__ import annotations

import math

import torch

from yaie.course.expect import expect, expect_lanes, expect_sectors, expect_share, given, named
from yaie.course.language import engine_seam
from yaie.kernels.ops.launching import DTYPES

from ..common import make_numbers

# The row [1, 0, 2, 3], by mistakes that show there; then [100, -100, 1, 1].
WRONG = [
    ([0.5379, 0.0], "silu(z) is z / (1 + exp(-z)), with a minus."),
    ([2.0, 0.0], "That is gate times up, without silu."),
    ([0.0, 5.2848], "A row is first all of the gate, then all of up: they do not alternate."),
    ([1.7616, 0.0], "silu is taken of the gate alone, before the product."),
    ([2.7311, 3.0], "silu(gate) and up are multiplied, not added."),
    ([0.7311, 0.0], "up was not taken into account: it is the second half of the row."),
    ([1.3333, 0.0], "The power is one of e, not of 2: `expf`."),
    ([math.nan, 0.0], "exp(z) does not fit into a float for a large z. z / (1 + exp(-z)) has no such problem."),
]
SHARED_OUT = "The thread blocks of a row share its packs out: each pack has one thread, in one block (`blockIdx.y`)."


def check() -> None:
    module = engine_seam.module("model_ops/silu_mul.cu")
    for rows in (
        [[1.0, 0.0, 2.0, 3.0]],
        [[100.0, -100.0, 1.0, 1.0]],
        [[-1.0, 2.0, 0.5, -3.0, 1.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]],
    ):
        gate_up = torch.tensor(rows)
        gate, up = gate_up.double().chunk(2, dim=-1)
        out = torch.full(gate.shape, -1.0)
        with given(f"gate_up = {rows}"):
            module.silu_mul_2_packs(gate_up, out, len(rows), gate.shape[1], 0)
            expect(out, gate * torch.sigmoid(gate) * up, "result in `out`", tolerance=1e-4, note=named(out[0], WRONG))
    for num_rows, size in ((3, 16), (2, 33), (2, 1200)):
        gate_up = make_numbers(num_rows, 2 * size)
        gate, up = gate_up.double().chunk(2, dim=-1)
        out = torch.full(gate.shape, -1.0)
        with given(f"gate_up of {num_rows} rows of 2 * {size} small whole numbers"):
            module.silu_mul_2_packs(gate_up, out, num_rows, size, 0)
            expect(out, gate * torch.sigmoid(gate) * up, "result in `out`", tolerance=1e-4)
    gate = torch.tensor([[-1.5, -1.125, 0.875, 2.125]]).half()  # a rounded sigmoid shows with each of these
    out = torch.full(gate.shape, -1.0).half()
    with given(f"gate = {gate.tolist()}, up = 1 everywhere, in float16"):
        module.silu_mul_2_packs(torch.cat([gate, torch.ones_like(gate)], -1), out, 1, 4, DTYPES[torch.float16])
        wanted = (gate.double() * torch.sigmoid(gate.double())).half()
        expect(
            out,
            wanted,
            "result in `out` (float16)",
            note="Compute in float. The first that is rounded to T is silu(gate).",
        )
    gate_up = torch.tensor([[1.0, 2.0, -1.0, 0.5, 5.0, 5.0, 3.0, 7.0]]).half()
    gate, up = gate_up.double().chunk(2, dim=-1)
    wanted = ((gate * torch.sigmoid(gate)).half().double() * up).half()
    out = torch.full(gate.shape, -1.0).half()
    with given(f"gate_up = {gate_up.tolist()} in float16"):
        module.silu_mul_2_packs(gate_up, out, 1, 4, DTYPES[torch.float16])
        expect(
            out, wanted, "result in `out` (float16)", note="silu(gate) is rounded to T before it is multiplied with up."
        )
    gate_up, out = make_numbers(2, 4096), torch.zeros(2, 2048)
    with given("profile of silu_mul_2_packs, 2 rows of 2 * 2048 floats"):
        profile = module.profile("silu_mul_2_packs", gate_up, out, 2, 2048, 0)
        expect_sectors(profile, 16)
    with given("profile of silu_mul_1_elements, 2 rows of 2 * 512 floats"):
        profile = module.profile(
            "silu_mul_1_elements", gate_up[:, :1024].contiguous(), out[:, :512].contiguous(), 2, 512, 0
        )
        expect_lanes(profile, 2 * 512, note=SHARED_OUT)
        expect_share(profile, 1, note=SHARED_OUT)
