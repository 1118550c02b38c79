"""Lesson 13: flash attention by tiles: load a tile, keep a running maximum and sum, skip what the mask hides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

import yaie.cuda
from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import native

LESSON = Lesson(13, "flash_tiles", "Flash attention: tiles", minutes=110)
COALESCED = "Neighbouring threads should take neighbouring columns of a row."
TILES, REGISTERS = "flash_attention_2_tiles", "flash_attention_3_registers"


def module(rung: str) -> yaie.cuda.Module:
    """The launchers of a rung in the emulator's check mode."""
    return native.module(f"flash_attention/{rung}.cu", "emulator", check=True)


def attend(
    rung: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    causal: bool = False,
    lengths: Sequence[tuple[int, int]] | None = None,
) -> torch.Tensor:
    """Attention with the scale ln 2, so that a score of s weighs 2^s.

    query `[total_q, num_heads, head_dim]`, key and value `[total_k, num_kv_heads, head_dim]`; `lengths` are the
    (q_len, kv_len) of each sequence, one sequence if left out.
    """
    lengths = lengths or [(len(query), len(key))]
    cu_q, cu_k = (torch.tensor([0, *column]).cumsum(0, dtype=torch.int32) for column in zip(*lengths, strict=True))
    out = torch.full_like(query, math.nan)
    sizes = [len(lengths), max(q for q, _ in lengths), query.shape[1], key.shape[1], query.shape[2]]
    launch = getattr(module(rung), rung)
    launch(query, key, value, out, cu_q, cu_k, *sizes, math.log(2), int(causal), native.DTYPES[query.dtype])
    return out


def marks(kv_len: int, head_dim: int) -> torch.Tensor:
    """Values `[kv_len, 1, head_dim]` that show who was counted: key j has a 1 in column j. An output is then the list
    of the weights."""
    return torch.eye(head_dim)[:kv_len, None].contiguous()


def keys_of(scores: Sequence[float], head_dim: int) -> torch.Tensor:
    """Keys `[len(scores), 1, head_dim]` whose product with a query of a 1 in column 0 is the score."""
    keys = torch.zeros(len(scores), 1, head_dim)
    keys[:, 0, 0] = torch.tensor(scores, dtype=torch.float32)
    return keys


def unit_query(q_len: int, head_dim: int) -> torch.Tensor:
    query = torch.zeros(q_len, 1, head_dim)
    query[..., 0] = 1.0
    return query


# --- 13.1 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "13.1",
    title="Load a tile",
    target=f"csrc/flash_attention/{TILES}.cu:load_tile",
    minutes=15,
    requires=("9.3",),
    task="Copy a tile of 32 rows from global into shared memory, with all threads of the block. Row i of the tile is "
    "row `first + i` of `rows`, or zeros where there are no more rows. With first = 32 and count = 33, row 0 of the "
    "tile is row 32 and the other 31 are zeros. Neighbouring threads take neighbouring columns.",
    hints=(
        "There are `KEYS * head_dim` numbers to copy and `blockDim.x` threads: number them 0, 1, 2, ... along the "
        "rows and let each thread take every blockDim.x-th.",
        "Number i is in row `i / head_dim`, column `i % head_dim`. In global memory rows are `stride` elements apart "
        "(a token has several heads), in the tile `tile_stride` floats. `to_float` converts an element.",
        "for (int i = threadIdx.x; i < KEYS * head_dim; i += blockDim.x) { const int row = i / head_dim, column = "
        "i % head_dim; tile[row * tile_stride + column] = first + row < count ? "
        "to_float(rows[static_cast<int64_t>(first + row) * stride + column]) : 0.0f; }",
    ),
    mutants=(
        Mutant(
            "const bool exists = first + row < count;",
            "const bool exists = true;",
            "The last tile is not full. Rows from `count` on are not this sequence's: fill the tile with zeros there.",
        ),
        Mutant(
            "static_cast<int64_t>(first + row) * stride",
            "static_cast<int64_t>(first + row) * head_dim",
            "In global memory the next row of this head is `stride` elements further on: the other heads of the token "
            "lie between.",
        ),
        Mutant(
            "row * tile_stride + column",
            "row * head_dim + column",
            "The rows of the tile are `tile_stride` floats apart, which may be more than head_dim: the padding keeps "
            "a column of keys out of one bank.",
        ),
        Mutant(
            "const int64_t place = static_cast<int64_t>(first + row)",
            "const int64_t place = static_cast<int64_t>(row)",
            "Every tile is a copy of the first one. Row 0 of the tile is row `first` of the sequence.",
        ),
    ),
)
def check_load_tile() -> None:
    for kv_len in (3, 1, 33, 70):
        head_dim = -(-kv_len // 8) * 8
        with given(f"1 query of zeros, {kv_len} keys of zeros, value j is 1 in column j and 0 elsewhere"):
            out = attend(TILES, torch.zeros(1, 1, head_dim), torch.zeros(kv_len, 1, head_dim), marks(kv_len, head_dim))
            wanted = torch.full((kv_len,), 1 / kv_len)
            expect(out[0, 0, :kv_len], wanted, "output (the weight of each key)", tolerance=1e-5)
    for scores in ([1.0, 0.0], [0.0, 1.0, 2.0]):
        with given(f"keys whose scores are {scores}: the weight of key j is 2^score, divided by the sum"):
            out = attend(TILES, unit_query(1, 8), keys_of(scores, 8), marks(len(scores), 8))
            wanted = torch.softmax(torch.tensor(scores) * math.log(2), 0)
            expect(out[0, 0, : len(scores)], wanted, "output (the weight of each key)", tolerance=1e-5)
    value = torch.arange(5 * 2 * 8, dtype=torch.float32).reshape(5, 2, 8)
    with given("two heads, two sequences of 2 and 3 tokens, queries and keys of zeros, values 0, 1, 2, ..."):
        zeros = torch.zeros_like(value)
        out = attend(TILES, zeros, zeros, value, lengths=[(2, 2), (3, 3)])
        means = [part.mean(0, keepdim=True).expand_as(part) for part in value.split([2, 3])]
        expect(out, torch.cat(means), "output (the mean of the sequence's values)", tolerance=1e-4)
    with given("profile of one query and 32 keys of 32 columns"):
        attend(TILES, torch.zeros(1, 1, 32), torch.zeros(32, 1, 32), torch.zeros(32, 1, 32))
        loads = [line for line in module(TILES).profile().lines if (line.space, line.operation) == ("global", "load")]
        worst = max(line.sectors_per_request for line in loads)
        expect(worst <= 4, True, "number of sectors that a warp reads per request, at most 4", note=COALESCED)


# --- 13.2 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "13.2",
    title="Running maximum and sum",
    target=f"csrc/flash_attention/{TILES}.cu:take_scores",
    minutes=20,
    requires=("13.1",),
    task="A row has seen some tiles and comes to the next one; each lane of the warp has the score of one key. Bring "
    "the row's maximum and sum up to date, give back the lane's weight exp(score - maximum), and say by which factor "
    "what was added up before must be multiplied. Example with ln 2 as the unit: the row has seen the scores 1 and 0, "
    "so most = 1 and sum = 1 + 1/2. The tile brings a single score of 2: most becomes 2, rescale is 1/2, the weight "
    "of the new key is 1, and sum becomes 1.5 / 2 + 1 = 1.75.",
    hints=(
        "First the new maximum: of the old one and of all 32 lanes (`warp_max`). Everything else follows from it.",
        "rescale = exp(old maximum - new maximum); the new sum is the old one times that, plus the 32 weights "
        "(`warp_sum`). If no key has been visible yet, the maximum is still -inf, and -inf - -inf is NaN: treat that "
        "first (weight 0, rescale 1).",
        "const float most = fmaxf(row.most, warp_max(score)); if (most == -INFINITY) { rescale = 1.0f; return 0.0f; } "
        "const float weight = expf(score - most); rescale = expf(row.most - most); row.sum = row.sum * rescale + "
        "warp_sum(weight); row.most = most; return weight;",
    ),
    mutants=(
        Mutant(
            "row.sum = row.sum * rescale + warp_sum(weight);",
            "row.sum = row.sum + warp_sum(weight);",
            "The old sum was made with the old maximum. Multiply it by `rescale` before the new weights are added.",
        ),
        Mutant(
            "rescale = expf(row.most - most);",
            "rescale = 1.0f;",
            "When the maximum grows, all that was added up before is too large by exp(new - old): `rescale` is "
            "exp(old - new).",
        ),
        Mutant(
            "row.sum = row.sum * rescale + warp_sum(weight);",
            "row.sum = row.sum * rescale + weight;",
            "Every lane added its own weight only. The sum of a row needs the weights of all 32 lanes: `warp_sum`.",
        ),
        Mutant(
            "fmaxf(row.most, warp_max(score))",
            "warp_max(score)",
            "The maximum must be that of all keys so far: a tile of smaller scores must not lower it.",
        ),
    ),
)
def check_take_scores() -> None:
    first = [0.0] * 32
    cases = (
        [0.0],
        [1.0, 0.0],
        [*first, 1.0],
        [*first, 0.0, -1.0],
        [3.0, *first, 1.0, 2.0],
        [*first, 2.0, *first[1:], 3.0, 1.0],
        [200.0, 201.0],
        [100.0, *first[1:], -100.0],
        [-300.0, *first],
    )
    for scores in cases:
        head_dim = -(-len(scores) // 8) * 8
        text = _short(scores)
        with given(f"a row with the scores {text} (a score of s weighs 2^s), in tiles of 32 keys"):
            out = attend(TILES, unit_query(1, head_dim), keys_of(scores, head_dim), marks(len(scores), head_dim))
            wanted = torch.softmax(torch.tensor(scores, dtype=torch.float64) * math.log(2), 0).float()
            expect(out[0, 0, : len(scores)], wanted, "weight of each key", tolerance=1e-5)
    for q_len, kv_len in ((2, 2), (3, 2), (40, 8)):
        with given(f"causal, {q_len} queries and {kv_len} keys of zeros: row i sees {kv_len - q_len + 1} + i keys"):
            zeros = torch.zeros(q_len, 1, 8)
            out = attend(TILES, zeros, torch.zeros(kv_len, 1, 8), marks(kv_len, 8), causal=True)
            wanted = _causal_means(q_len, kv_len)
            expect(out[:, 0, :kv_len], wanted, "weight of each key, row by row", tolerance=1e-5)


def _short(scores: Sequence[float]) -> str:
    """The scores, with repetitions counted: "32 times 0, 1"."""
    parts: list[tuple[float, int]] = []
    for score in scores:
        if parts and parts[-1][0] == score:
            parts[-1] = (score, parts[-1][1] + 1)
        else:
            parts.append((score, 1))
    return ", ".join(f"{count} times {score:g}" if count > 1 else f"{score:g}" for score, count in parts)


def _causal_means(q_len: int, kv_len: int) -> torch.Tensor:
    """Weights `[q_len, kv_len]` where all visible keys weigh the same."""
    rows = torch.arange(q_len)[:, None] + kv_len - q_len
    visible = torch.arange(kv_len)[None] <= rows
    return visible / visible.sum(1, keepdim=True).clamp(min=1)


# --- 13.3 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "13.3",
    title="Skip the tiles that nobody sees",
    target=f"csrc/flash_attention/{REGISTERS}.cu:tiles_that_matter",
    minutes=15,
    requires=("13.2",),
    task="Say which tiles of keys a block of TILE rows has to visit, and which of these need no mask, because all "
    "rows of the block see all of their keys. Causal, 128 queries and keys, tiles of 64: the block with rows "
    "0 to 63 visits 1 tile (row 63 sees 64 keys), and none of its tiles is seen by all (row 0 sees 1 key). "
    "The block with rows 64 to 127 visits 2, and the first is seen by all.",
    hints=(
        "A later row never sees fewer keys. Which row of the block decides how far to go, and which one decides where "
        "the mask begins?",
        "`head.visible_keys(row)` counts keys. A tile that is seen in part must be visited: round up. A tile that is "
        "seen in part by the first row needs the mask: round down.",
        "tiles.seen_by_all = head.visible_keys(first_row) / TILE; tiles.to_visit = (head.visible_keys(first_row + "
        "TILE - 1) + TILE - 1) / TILE;",
    ),
    mutants=(
        Mutant(
            "(head.visible_keys(last_row) + TILE - 1) / TILE",
            "(head.visible_keys(first_row) + TILE - 1) / TILE",
            "The first row of the block sees the fewest keys; the last row must be able to visit all that it sees.",
        ),
        Mutant(
            "(head.visible_keys(last_row) + TILE - 1) / TILE",
            "head.visible_keys(last_row) / TILE",
            "The last tile is left out when only a part of it is seen. Round up.",
        ),
        Mutant(
            "head.visible_keys(first_row) / TILE",
            "head.visible_keys(last_row) / TILE",
            "A tile needs no mask only if every row of the block sees all of it, also the first row.",
        ),
        Mutant(
            "(head.visible_keys(last_row) + TILE - 1) / TILE",
            "(head.kv_len + TILE - 1) / TILE",
            "The result is right, but all tiles are visited, masked or not. Count what the last row of the block sees.",
        ),
    ),
)
def check_tiles_that_matter() -> None:
    cases = [
        (64, 64, True, 1),
        (128, 128, True, 3),
        (2, 70, True, 2),
        (65, 129, True, 5),
        (70, 5, True, 1),
        (70, 130, False, 6),
    ]
    for q_len, kv_len, causal, visits in cases:
        query, key, value = torch.zeros(q_len, 1, 8), torch.zeros(kv_len, 1, 8), torch.zeros(kv_len, 1, 8)
        value[:, 0, 0] = torch.arange(kv_len)
        kind = "causal" if causal else "not causal"
        with given(f"{kind}, {q_len} queries and {kv_len} keys of zeros, tiles of 64; value j is j"):
            out = attend(REGISTERS, query, key, value, causal=causal)
            seen = [max(min(i + 1 + kv_len - q_len, kv_len), 0) if causal else kv_len for i in range(q_len)]
            wanted = torch.tensor([max(n - 1, 0) / 2 for n in seen])
            expect(out[:, 0, 0], wanted, "output (the mean of the visible values)", tolerance=1e-3)
            expect(_tiles_read(q_len, 8), visits, "number of tiles of keys that all thread blocks visit together")


def _tiles_read(q_len: int, head_dim: int) -> int:
    """Tiles of keys of the last call, from the loads of 16 bytes: a block reads its queries, then keys and values."""
    lines = [
        line
        for line in module(REGISTERS).profile().lines
        if (line.space, line.operation, line.bytes_per_lane) == ("shared", "store", 16)
    ]
    tiles = sum(line.bytes for line in lines) // (64 * head_dim * 4)
    return (tiles - -(-q_len // 64)) // 2
