from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from yaie.course.expect import (
    Mismatch,
    expect,
    expect_lanes,
    expect_launch_error,
    expect_sectors,
    expect_stream,
    expect_told,
    given,
    named,
)
from yaie.course.language import engine_seam
from yaie.cuda import KernelError

LAUNCHERS = Path(__file__).with_suffix(".cu")
STREAM = 0x5EED  # the handle of a queue
REFUSED = {"bad_launch", "launch_error"}
MOST_READS = (
    200  # of shared memory by a warp, for a row of 1,024: far above 32 for each lane, far below 1 for each number
)


def check() -> int:
    module = engine_seam.module("primitives/softmax_rows.cu", more=LAUNCHERS)
    rows_by_hand = ([0.0, 0.0], [1.0], [1000.0, 1000.0 + math.log(3)], [5.0, -math.inf, 5.0], [-200.0, -201.0])
    for row in rows_by_hand:
        with given(f"softmax_rows of one row, {row}"):
            _expect_softmax(module, torch.tensor([row]))
    generator = torch.Generator().manual_seed(0)
    for num_rows, size in ((3, 5), (2, 33), (2, 256), (2, 257), (5, 1000), (1, 8192)):
        with given(f"softmax_rows of {num_rows} rows of {size} random numbers"):
            _expect_softmax(module, 10 * torch.randn(num_rows, size, generator=generator))
    places = torch.tensor([0, 1, 31, 32, 255, 256, 700, 1499])  # whatever part of a row a maximum leaves out
    with given(f"softmax_rows of 8 rows of 1,500 zeros, with one 200 in each, in the columns {places.tolist()}"):
        _expect_softmax(module, torch.zeros(8, 1500).scatter(1, places[:, None], 200.0))
    for num_rows, size in ((0, 8), (4, 0)):
        with given(f"softmax_rows of {num_rows} rows of {size} numbers"):
            module.softmax_rows(torch.zeros(num_rows, size), torch.zeros(num_rows, size), num_rows, size)
    with given("softmax_rows of one row of 100,000 numbers: more than the shared memory of a block holds"):
        _expect_right_or_refused(module, torch.zeros(1, 100_000))
    with given("profile of softmax_rows, 8 rows of 1,024 numbers"):
        x = torch.randn(8, 1024, generator=generator)
        profile = module.profile("softmax_rows", x, torch.zeros_like(x), 8, 1024, stream=STREAM)
        _expect_shared_work(profile)
        expect_stream(profile, STREAM)
    with given("softmax_rows of one row of zeros, on a stream that has been destroyed: a card refuses the launch"):
        expect_launch_error(lambda: module.softmax_rows_too_late(torch.zeros(1, 8), torch.zeros(1, 8), 1, 8))
    return sum(line.wavefronts for line in profile.lines)


def _expect_softmax(module: Any, x: torch.Tensor) -> None:
    y = torch.full_like(x, -1.0)
    module.softmax_rows(x, y, *x.shape)
    wanted = x.double().softmax(dim=1).float()
    expect(y, wanted, "result y", tolerance=1e-5, note="" if x.numel() > 64 else named(y, _wrong_results(x, y)))


def _wrong_results(x: torch.Tensor, y: torch.Tensor) -> list[tuple[list, str]]:
    """What comes out of some mistakes, where it is not the right result."""
    shifted = x.double() - x.double().amax(dim=1, keepdim=True)
    powers = shifted.exp()
    wrong = [
        (powers, "The powers were not divided by the sum of the whole row."),
        (shifted.exp2() / shifted.exp2().sum(dim=1, keepdim=True), "These are powers of 2, not of e: use `expf`."),
        (powers / x.double().sum(dim=1, keepdim=True), "The numbers were added up, not their powers."),
        (powers / shifted.sum(dim=1, keepdim=True), "The differences were added up, not their powers."),
        (shifted - powers.sum(dim=1, keepdim=True).log(), "That is the logarithm of the softmax."),
        (x.double() / x.double().sum(dim=1, keepdim=True), "The numbers were divided by their sum. Take their powers."),
        (powers / x.shape[1], "The powers were divided by their number, not by their sum."),
    ]
    divisor = powers / y
    told = any(torch.allclose(each, y.double(), atol=1e-5, equal_nan=True) for each, _ in wrong)
    if not told and x.shape[1] > 1 and divisor.isfinite().all() and divisor.std() < 1e-4 * divisor.mean():
        sums = f"{divisor.mean().item():.4g}, and the sum of the powers is {powers.sum().item():.4g}"
        wrong.append((y, f"The powers were divided by {sums}."))
    if not (x > -100).any() and not y.isfinite().any():
        wrong.insert(0, (y, "All numbers of a row may be far below 0: the maximum begins at -INFINITY, not at 0."))
    near = (torch.allclose(each.double(), y.double(), atol=1e-5, equal_nan=True) for each, _ in wrong)
    return [(each.tolist(), message) for (each, message), fits in zip(wrong, near, strict=True) if fits]


def _expect_right_or_refused(module: Any, x: torch.Tensor) -> None:
    try:
        _expect_softmax(module, x)
    except KernelError as error:
        expect_told(error)
        if not {finding.kind for finding in error.findings} <= REFUSED:
            raise


def _expect_shared_work(profile: Any) -> None:
    launches = profile.launches
    blocks = max((math.prod(launch.grid) for launch in launches), default=0)
    if blocks < 2:
        headline = "The result is right, but one thread block does all the work."
        note = "A card has over a hundred multiprocessors, and each runs blocks of its own."
        raise Mismatch("thread blocks", f"{blocks} for 8 rows", "2 or more", "", note, headline)
    read = sum(line.bytes for line in profile.lines if (line.space, line.operation) == ("global", "load"))
    note = "Put the row into shared memory as it is read, and read it from there."
    expect(read // 4096, 8, "number of rows of 4,096 bytes that are read from global memory", note=note)
    expect_sectors(profile, 16)
    expect_lanes(profile, 8 * 1024, note="Each number of y belongs to one thread, and every thread has some.")
    reads = [step for step in profile.trace if (step.space, step.operation) == ("shared", "load")]
    if len(reads) > MOST_READS:
        headline = "The result is right, but the threads do not share the work."
        got = f"{len(reads)} reads of shared memory, one at a time, in a warp"
        raise Mismatch("reads", got, f"at most {MOST_READS}", "", "256 numbers become 1 in 8 rounds.", headline)
