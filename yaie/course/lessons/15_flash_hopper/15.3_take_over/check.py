from __future__ import annotations

import torch

from yaie.course.expect import expect, given, named

from ..common import OVERLAP, draws, launchers

KEYS, HEAD_DIM = 128, 64
FACTORS = 0.5 ** (torch.arange(64) % 3)  # a thread's two rows, 8 apart, differ
FIRST_OF_THREAD = torch.arange(64) // 16 * 16 + torch.arange(64) % 8  # the first of the two rows


def check() -> None:
    module = launchers(OVERLAP, __file__)
    random = draws(64, KEYS).abs(), draws(KEYS, HEAD_DIM), draws(64, KEYS).flip(0).abs(), 3.0, FACTORS
    with given("weights and values at random, the sums before 3, factors 1, 1/2 and 1/4 in turn"):
        told = _what_became(*_taken_over(module, *random), *random)
    ones = torch.ones(64, KEYS)
    for before, factor, weight in ((0.0, 1.0, 0.5), (0.0, 0.25, 0.5), (64.0, 0.25, 1.0)):
        with given(
            f"old weights and values are 1, the sums before {before:g}, factors {factor:g}, new weights {weight:g}"
        ):
            _expect(
                module, told, ones, ones[0, :, None].expand(KEYS, HEAD_DIM), ones * weight, before, ones[:, 0] * factor
            )
    with given("weights and values at random, the sums before 3, factors 1, 1/2 and 1/4 in turn"):
        _expect(module, told, *random)


def _taken_over(module, old, values, new, before, factors) -> tuple[torch.Tensor, torch.Tensor]:
    sums, weights = torch.full((64, HEAD_DIM), before), torch.full((64, KEYS), -99.0)
    module.take_over_alone(old, values.half().contiguous(), new.contiguous(), factors.contiguous(), sums, weights)
    return sums, weights


def _expect(module, told, old, values, new, before, factors) -> None:
    sums, weights = _taken_over(module, old, values, new, before, factors)
    expect(sums, ((old @ values + before) * factors[:, None]), "sums", note=told[0], axes="row column")
    expect(weights, new, "weights", note=told[1], axes="row key")


def _what_became(sums, weights, old, values, new, before, factors) -> tuple[str, str]:
    """What the sums and the weights of the random input are, if that is something one knows."""
    product, factor = old @ values, factors[:, None]
    first, other = FACTORS[FIRST_OF_THREAD, None], FACTORS[torch.arange(64) ^ 8, None]
    by_column = torch.where(torch.arange(HEAD_DIM) % 2 == 0, first, FACTORS[FIRST_OF_THREAD + 8, None])
    half = torch.cat([factor.expand(64, HEAD_DIM // 2), torch.ones(64, HEAD_DIM // 2)], 1)
    of_sums = [
        (product + before * factor, "What the last product adds has not been scaled, only what was there before it."),
        (product * factor + before, "What was there before the last product has not been scaled, only what it adds."),
        (before * factor, "The last product is missing in the sums."),
        ((product + before) * factor**2, "The sums have been scaled twice."),
        ((product + before) / factor, "The sums have been divided by the factors."),
        (product + before + factor, "The factors have been added to the sums."),
        ((product + before) * torch.exp2(factor), "2 was raised to the factors, which are powers already."),
        ((product + before) * other, "Each row has been scaled by the factor of the thread's other row."),
        ((product + before) * first, "Both rows of a thread have been scaled by the factor of its first row."),
        ((product + before) * by_column, "Even and odd columns have factors of different rows."),
        ((product + before) * half, "The first half of the sums has been scaled, and the second has not."),
        (torch.zeros_like(sums), "All sums are 0."),
    ]
    # Before they are weighed, three quarters are logarithms.
    scores = torch.cat([new[:, : KEYS // 4], torch.log2(new[:, KEYS // 4 :])], 1)
    pairs = new.view(64, KEYS // 2, 2)
    of_weights = [
        (torch.cat([new[:, : KEYS // 2], scores[:, KEYS // 2 :]], 1), "The second half are still scores."),
        (torch.cat([new[:, :32], scores[:, 32:64], new[:, 64:]], 1), "The second quarter are still scores."),
        (
            torch.cat([torch.exp2(new[:, :32]), scores[:, 32:]], 1),
            "The first quarter is weighed twice, the others never.",
        ),
        (new * factor, "The new weights have been scaled by the factors. They belong to the new maximum already."),
        (
            pairs.flip(2).reshape(64, KEYS),
            "The two halves of each register are exchanged: the lower one is the first column.",
        ),
        (_exchanged(new), "Registers 1 and 2 of each step are exchanged: 1 is of the second row."),
        (new[:, :16].repeat(1, KEYS // 16), "Each step holds the weights of step 0."),
        (new.bfloat16().view(torch.float16).float(), "These are bits of bfloat16 numbers; T is float16 here."),
    ]
    return tuple(
        named(got, [(wrong.half().float() if got is weights else wrong, said) for wrong, said in candidates])
        for got, candidates in ((sums, of_sums), (weights, of_weights))
    )


def _exchanged(weights: torch.Tensor) -> torch.Tensor:
    """With what two registers of a step hold in each other's place: 8 rows of the next 8 columns, the next 8 rows."""
    blocks = weights.view(4, 2, 8, KEYS // 16, 2, 8)  # warp, half of its rows, row, step, half of the columns, column
    return blocks.transpose(1, 4).reshape(64, KEYS)
