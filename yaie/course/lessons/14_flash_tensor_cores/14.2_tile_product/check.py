from __future__ import annotations

import math

import torch

from yaie.course.differences import part_of_product
from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

MMA = "The sums come from `yaie::mma_m16n8k16_f16`, one call for each 16 columns."
ONCE = "Each element belongs to one lane, which fetches it from global memory straight into its register."


def check() -> None:
    module = engine_seam.module("primitives/tile_product.cu")

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        c = torch.full((16, 8), math.nan)
        module.tile_product(a.half(), b.half(), c, a.shape[1])
        return c

    numbered = torch.arange(8 * 16).reshape(8, 16)
    with given("a of zeros but for a[1][2] = 1, b = 0, 1, 2, ... along its rows of 16: row 1 of c is column 2 of b"):
        one = torch.zeros(16, 16)
        one[1, 2] = 1
        expect(product(one, numbered), one @ numbered.float().T, "result c")
    with given("a = the unit matrix, b = 0, 1, 2, ... along its rows of 16: c is b, transposed"):
        expect(product(torch.eye(16), numbered), numbered.float().T, "result c")
    generator = torch.Generator().manual_seed(0)
    for depth in (16, 32, 80):
        a, b = (torch.randint(-8, 9, (rows, depth), generator=generator) for rows in (16, 8))
        with given(f"depth {depth}, small whole numbers in a and b"):
            c = product(a, b)
            expect(c, (a @ b.T).float(), "result c", note=part_of_product(c, a, b))
    with given("profile of tile_product with depth 48"):
        product(a[:, :48], b[:, :48])
        profile = module.profile()
        headline = "The result is right, but not by one mma for each 16 columns."
        if profile.tensor_core_calls != 3:
            raise Mismatch("calls", str(profile.tensor_core_calls), "3 calls of tensor cores", "", MMA, headline)
        loads = [line for line in profile.lines if (line.space, line.operation) == ("global", "load")]
        fetched, there = sum(line.bytes for line in loads), (16 + 8) * 48 * 2
        if fetched > there:
            headline = "The result is right, but elements are fetched more than once."
            raise Mismatch("fetches", f"{fetched} bytes fetched by the lanes", f"{there}", "", ONCE, headline)
