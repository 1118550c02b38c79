"""Lesson 14: flash attention on tensor cores: fragments, ldmatrix and mma, a pipeline of asynchronous copies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from yaie.course.expect import expect, given
from yaie.course.lessons.lesson_13_flash_tiles import attend, marks, module
from yaie.course.registry import Lesson, Mutant

LESSON = Lesson(14, "flash_tensor_cores", "Flash attention: tensor cores", minutes=120)
RUNG = "flash_attention_4_tensor_cores"
TARGET = f"csrc/flash_attention/{RUNG}.cu"
TOLERANCE = 1e-3  # of weights in float16, relative to 1


def halves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.half() for tensor in tensors]


def weights_of(scores: Sequence[float], head_dim: int = 64) -> torch.Tensor:
    """The shares 2^score / sum, filled up with zeros to head_dim."""
    wanted = torch.zeros(head_dim)
    wanted[: len(scores)] = torch.softmax(torch.tensor(scores, dtype=torch.float64) * math.log(2), 0).float()
    return wanted


# --- 14.1 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "14.1",
    title="Which element is mine?",
    target=f"{TARGET}:mask_scores",
    minutes=20,
    requires=("13.3",),
    task="Set the scores that a row may not see to -inf. The scores of a warp are spread over its lanes as mma "
    "left them; find out row and key of each element of yours. The first row of the warp is `first_row`, the "
    "first key of the tile `first_key`. Example: first_row = 0, first_key = 0; element 3 of lane 5 in band 0, "
    "block 2 is row 5 / 4 + 8 = 9, key 8 * 2 + (5 % 4) * 2 + 1 = 19. Row 9 sees 10 keys under a causal mask, "
    "so this score becomes -inf.",
    hints=(
        "Three loops: bands of 16 rows, blocks of 8 keys, the four elements. The comment at `Accumulators` gives "
        "row and column of an element within its band and block.",
        "row = first_row + 16 * band + lane / 4 + 8 * (i / 2); key = first_key + 8 * block + lane % 4 * 2 + i % 2. "
        "A row sees the keys below `head.visible_keys(row)`.",
        "for band, for block, for i from 0 to 3: if (first_key + 8 * block + lane % 4 * 2 + i % 2 >= "
        "head.visible_keys(first_row + 16 * band + lane / 4 + 8 * (i / 2))) scores[band][block][i] = -INFINITY; "
        "with `#pragma unroll` before each loop, so that the array stays in registers.",
    ),
    mutants=(
        Mutant(
            "lane / 4 + 8 * (i / 2)",
            "lane / 4 * 2 + i / 2",
            "Elements 0 and 1 of a lane lie in row lane / 4, elements 2 and 3 lie 8 rows below: 8 * (i / 2).",
        ),
        Mutant(
            "- lane % 4 * 2 - i % 2",
            "- lane % 4 - i % 2 * 4",
            "A lane has two neighbouring columns, 2 * (lane % 4) and the next one.",
        ),
        Mutant(
            "8 * block >= end",
            "8 * block > end",
            "A row that sees n keys sees the keys 0 to n - 1; key n must be masked.",
        ),
    ),
)
def check_mask_scores() -> None:
    for q_len, kv_len, causal in (
        (2, 2, True),
        (1, 3, False),
        (9, 9, True),
        (33, 40, True),
        (1, 63, False),
        (40, 40, True),
    ):
        kind = "causal" if causal else "not causal"
        with given(
            f"{kind}, {q_len} queries and {kv_len} keys of zeros; row i of the output is the weight of each key"
        ):
            query, key, value = halves(torch.zeros(q_len, 1, 64), torch.zeros(kv_len, 1, 64), marks(kv_len, 64))
            out = attend(RUNG, query, key, value, causal=causal)
            seen = [i + 1 + kv_len - q_len if causal else kv_len for i in range(q_len)]
            wanted = torch.stack([weights_of([0.0] * n) for n in seen])[:, :kv_len]
            expect(out[:, 0, :kv_len].float(), wanted, "weight of each key, row by row", tolerance=TOLERANCE)


# --- 14.2 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "14.2",
    title="Scores with ldmatrix and mma",
    target=f"{TARGET}:score_keys",
    minutes=35,
    requires=("14.1",),
    task="Compute the scores of the warp's rows and all keys of the tile on tensor cores. Go through head_dim in "
    "steps of 16 columns (two chunks of 8). In each step fetch the left operand (16 rows x 16 columns) of "
    "each band with `ldmatrix_x4`, and for every 16 keys two right operands (16 columns x 8 keys) with "
    "another; multiply them into scores[band][block] and scores[band][block + 1]. With a query of ones and 4 "
    "keys of zeros, twos, zeros and zeros in 16 columns, the scores are 0, 32, 0, 0.",
    hints=(
        "ldmatrix_x4 fetches four 8x8 matrices; lane 8m + i gives the address of row i of matrix m, 16 bytes. Draw "
        "the four matrices of each operand: which rows, which chunk?",
        "Left operand: matrices 0 and 1 are rows 0-7 and 8-15 of the first chunk, 2 and 3 the same rows of the "
        "second: lane l gives row l % 16, chunk + l / 16. Right operands: matrices 0 and 1 are the two chunks of "
        "keys 0-7, 2 and 3 those of keys 8-15: key l / 16 * 8 + l % 8, chunk + l / 8 % 2. Addresses by "
        "`place<HEAD_DIM>(row, chunk)`.",
        "for (chunk = 0; chunk < HEAD_DIM / 8; chunk += 2) { for each band: ldmatrix_x4(a[band], "
        "&queries[place<HEAD_DIM>(first_row + 16 * band + lane % 16, chunk + lane / 16)]); for (block = 0; block < "
        "BLOCKS; block += 2) { ldmatrix_x4(b, &keys[place<HEAD_DIM>(8 * block + lane / 16 * 8 + lane % 8, chunk + "
        "lane / 8 % 2)]); for each band: multiply<T>(scores[band][block], a[band], {b[0], b[1]}); and [block + 1] "
        "with {b[2], b[3]}; } }",
    ),
    mutants=(
        Mutant(
            "(lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2)",
            "(lane % 16, chunk + lane / 16)",
            "The four matrices of the right operands come in another order: first both chunks of keys 0-7, then both "
            "chunks of keys 8-15.",
        ),
        Mutant(
            "first_row + lane % 16",
            "lane % 16",
            "Each warp has rows of its own: warp w begins at row 16 * BANDS * w of the tile of queries.",
        ),
        Mutant(
            "multiply<T>(scores[band][block + 1], a[band], {b[2], b[3]});",
            "multiply<T>(scores[band][block + 1], a[band], {b[0], b[1]});",
            "The second block of 8 keys got the operand of the first. Its own is in b[2] and b[3].",
        ),
    ),
)
def check_score_keys() -> None:
    for scores in ([0, 1], [3, 0, 2, 1], [i % 5 for i in range(20)], [i * 7 % 6 for i in range(64)]):
        for columns in ((0,), (9, 20)):
            key = torch.zeros(len(scores), 1, 64)
            key[:, 0, columns[-1]] = torch.tensor(scores, dtype=torch.float32)
            query = torch.zeros(1, 1, 64)
            query[..., list(columns)] = 1.0
            text = f"one query with a 1 in column {' and '.join(map(str, columns))}, keys with {scores} in column"
            with given(f"{text} {columns[-1]}: these are the scores (a score of s weighs 2^s)"):
                out = attend(RUNG, *halves(query, key, marks(len(scores), 64)))
                wanted = weights_of(scores)[: len(scores)]
                expect(out[0, 0, : len(scores)].float(), wanted, "weight of each key", tolerance=TOLERANCE)
    query = torch.zeros(128, 1, 64)
    query[torch.arange(128), 0, torch.arange(128) % 64] = 1.0
    with given(
        "128 queries, query i with a 1 in column i % 64; 64 keys, key j with a 6 in column j: the score is 6 or 0"
    ):
        out = attend(RUNG, *halves(query, 6 * marks(64, 64), marks(64, 64)))
        wanted = (torch.eye(64).repeat(2, 1) * 63 + 1) / (64 + 63)
        expect(out[:, 0].float(), wanted, "weight of each key, row by row", tolerance=TOLERANCE)
    with given("profile of 16 queries and 64 keys"):
        attend(RUNG, *halves(torch.zeros(16, 1, 64), torch.zeros(64, 1, 64), torch.zeros(64, 1, 64)))
        conflicts = module(RUNG).profile().bank_conflicts
        note = "`place` gives addresses without conflicts: ask for 8 rows of one chunk at a time."
        expect(conflicts, 0, "number of bank conflicts", note=note)


# --- 14.3 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "14.3",
    title="A pipeline of copies",
    target=f"{TARGET}:next_tile",
    minutes=20,
    requires=("14.2",),
    task="Come to tile number `tile`: see to it that all threads may read it, then start the copy of the next one, "
    "so that it travels while this one is computed with. Two stages take turns: the next tile goes where the "
    "last one was. With 3 tiles the order is: (copy 0 started before), come to 0: wait for 0, start 1; come "
    "to 1: wait for 1, start 2; come to 2: wait for 2.",
    hints=(
        "`cp_async_wait` waits for the copies of this thread only. What makes the copies of the others visible, "
        "and keeps you from overwriting what another warp still reads?",
        "Wait for your own copies, then meet all threads at a barrier, then start the next tile (if there is one) and "
        "close its group with `cp_async_commit`. In this order one barrier does both.",
        "yaie::cp_async_wait<0>(); __syncthreads(); if (tile + 1 < num_tiles) { start_tile(tile + 1); "
        "yaie::cp_async_commit(); }",
    ),
    mutants=(
        Mutant(
            "    yaie::cp_async_wait<0>();\n",
            "",
            "A copy lands some time after it was started. Wait for this thread's copies before anybody reads the tile.",
        ),
        Mutant(
            "    __syncthreads();  // all copies of this tile have landed, and nobody reads the stage of the last one "
            "any more\n",
            "",
            "Other threads copied parts of the tile, and other warps may still read the stage that the next copy "
            "goes to. All threads must meet between waiting and starting.",
        ),
        Mutant(
            "        start_tile(tile + 1);\n        yaie::cp_async_commit();\n",
            "",
            "Nobody copies the second tile: the stage still holds nothing, or an older tile.",
        ),
    ),
)
def check_next_tile() -> None:
    for kv_len in (64, 65, 128, 200, 330):
        with given(f"1 query and {kv_len} keys of zeros: {-(-kv_len // 64)} tiles of 64 keys; the value of key j is j"):
            value = torch.arange(kv_len, dtype=torch.float32)[:, None, None].repeat(1, 1, 64)
            out = attend(RUNG, *halves(torch.zeros(1, 1, 64), torch.zeros(kv_len, 1, 64), value))
            expect(out[0, 0, 0].float().item(), (kv_len - 1) / 2, "output (the mean of the values)", tolerance=0.2)
