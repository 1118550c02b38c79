"""Lesson 12: paged attention on the GPU: the page walk, the online softmax, a warp's dot product, and merged splits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import native

LESSON = Lesson(12, "paged_attention", "Paged attention", minutes=110)
FILE = "paged_attention/paged_attention.cu"
FLOAT32 = native.DTYPES[torch.float32]


def decode(
    launcher: str,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: Sequence[int],
    context_len: int,
    *,
    splits: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Attention of one sequence's query over its pages, with scores as they are: 2^score is the weight of a key.

    query `[num_heads, head_dim]`, keys and values `[num_blocks, block_size, num_kv_heads, head_dim]`, float32; `splits`
    is `(num_splits, split_tokens)` for rung 4.
    """
    num_heads, head_dim = query.shape
    _, block_size, num_kv_heads, _ = keys.shape
    out = torch.full((1, num_heads, head_dim), math.nan)
    tables = torch.tensor([table], dtype=torch.int32)
    lens = torch.tensor([context_len], dtype=torch.int32)
    tensors = [query[None].contiguous(), keys, values, tables, lens]
    sizes = [1, num_heads, num_kv_heads, head_dim, block_size, len(table)]
    last = [math.log(2), FLOAT32]  # the launcher turns e^x into 2^x; this scale takes that back
    run = getattr(native.module(FILE, "emulator", check=True), launcher)
    if splits is None:
        run(*tensors, out, *sizes, *last)
    else:
        parts = torch.full((1, num_heads, splits[0], head_dim), math.nan)
        run(*tensors, None, out, parts, parts[..., 0].clone(), *sizes, *splits, *last)
    return out[0]


def _one_hot(num_slots: int) -> torch.Tensor:
    """Values `[num_slots, num_slots]` that leave their mark: slot i has a 1 at place i. The mean of some of them shows
    which they were, and how much each counted."""
    return torch.eye(num_slots)


# --- 12.1 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "12.1",
    title="The page walk",
    target="csrc/paged_attention/paged_attention.cu:slot_of_token",
    minutes=10,
    task="Say where in the cache a token lies, counted in tokens. With pages of 4 and the block table [1, 0], the "
    "token at position 2 is row 2 of block 1, slot 6, and the token at position 5 is row 1 of block 0, slot 1.",
    hints=(
        "Two questions: in which of the sequence's pages is the position, and in which row of that page?",
        "Page `position / block_size` of the sequence is block `block_table[position / block_size]` of the pool. A "
        "block has `block_size` slots, and the remainder of the division is the row.",
        "return block_table[position / block_size] * block_size + position % block_size;",
    ),
    mutants=(
        Mutant(
            "block_table[position / block_size]",
            "(position / block_size)",
            "This is where the token would lie if the pages lay in order. The block table says where they do lie.",
        ),
        Mutant(
            " + position % block_size",
            "",
            "Every token of a page is found in the first row of the page. Add the row: `position % block_size`.",
        ),
        Mutant(
            "] * block_size",
            "]",
            "A block id counts blocks, and a slot counts tokens: a block has `block_size` of them.",
        ),
    ),
)
def check_slot_of_token() -> None:
    cases = [(4, [1, 0], 2), (4, [1, 0], 6), (2, [3, 0, 2], 5), (1, [5, 2, 7], 3), (8, [0], 8)]
    for block_size, table, context_len in cases:
        _expect_slots("paged_decode_1_thread_per_head", block_size, table, context_len, 8)
    _expect_slots("paged_decode_3_grouped", 5, [2, 4, 0, 1, 5], 23, 32)


def _expect_slots(launcher: str, block_size: int, table: list[int], context_len: int, num_slots: int) -> None:
    slots = [table[p // block_size] * block_size + p % block_size for p in range(context_len)]
    expected = torch.zeros(num_slots)
    expected[slots] = 1 / context_len
    shape = (num_slots // block_size, block_size, 1, num_slots)
    values = _one_hot(num_slots)[: math.prod(shape[:2])].reshape(shape)
    keys, query = torch.zeros(shape), torch.zeros(1, num_slots)
    with given(f"pages of {block_size}, block table {table}, a context of {context_len} tokens, all scores 0"):
        out = decode(launcher, query, keys, values, table, context_len)[0]
        expect(out, expected, "mean (the share of each slot of the cache)", tolerance=1e-5)


# --- 12.2 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "12.2",
    title="The online softmax",
    target="csrc/paged_attention/paged_attention.cu:grow_maximum",
    minutes=15,
    task="Let the running maximum grow to a new score. What was added up relative to the old maximum must be "
    "multiplied by 2^(old maximum - new maximum): do so with `total`, and return the factor. With `largest` 3, "
    "`total` 5 and a score of 4, `largest` becomes 4, `total` 2.5, and 0.5 is returned. A score of 1 changes nothing "
    "and returns 1.",
    hints=(
        "The new maximum is the larger of two numbers. How much smaller is 2^(x - new) than 2^(x - old), for any x?",
        "The factor is exp2f(old - new). It is 1 if the maximum stays. Keep the old maximum until you have the factor.",
        "const float larger = fmaxf(largest, score); const float correction = exp2f(largest - larger); "
        "total *= correction; largest = larger; return correction;",
    ),
    mutants=(
        Mutant(
            "exp2f(largest - larger)",
            "exp2f(larger - largest)",
            "The factor is upside down. When the maximum grows, old weights become smaller: old minus new.",
        ),
        Mutant(
            "    total *= correction;\n",
            "",
            "The sums are corrected and `total` is not, so the weights do not add up to 1.",
        ),
        Mutant(
            "fmaxf(largest, score)",
            "score",
            "The maximum went down to a smaller score. That works until the distance is too large for 2^x in a float.",
        ),
        Mutant(
            "    largest = larger;\n",
            "",
            "`largest` keeps its old value, so the new weight is 2 to the power of a huge number.",
        ),
    ),
)
def check_grow_maximum() -> None:
    launcher = "paged_decode_1_thread_per_head"
    for scores in ([1], [1, 0], [0, 1], [0, 1, 3], [3, 0, 3], [0, 100, 101], [200, 0, 199]):
        _expect_weights(launcher, scores, None)
    _expect_weights("paged_decode_2_warp_per_head", [2, 5, 1, 6], None)
    _expect_weights("paged_decode_3_grouped", [-2, 5, 1, 6], None)


def _expect_weights(launcher: str, scores: list[float], splits: tuple[int, int] | None) -> None:
    """Key i gives the score i, value i has its 1 at place i: the output is the softmax."""
    num_slots = 8
    keys = torch.zeros(1, num_slots, 1, num_slots)
    keys[0, : len(scores), 0, 0] = torch.tensor(scores, dtype=torch.float32)
    query = torch.zeros(1, num_slots)
    query[0, 0] = 1
    values = _one_hot(num_slots).reshape(keys.shape)
    expected = torch.zeros(num_slots)
    expected[: len(scores)] = (torch.tensor(scores, dtype=torch.float64) * math.log(2)).softmax(0).float()
    where = f", in {splits[0]} splits of {splits[1]}" if splits else ""
    with given(f"keys whose scores are {scores}, each with the weight 2^score{where}"):
        out = decode(launcher, query, keys, values, [0], len(scores), splits=splits)[0]
        expect(out[: len(scores)], expected[: len(scores)], "softmax (the weight of each key)", tolerance=1e-5)


# --- 12.3 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "12.3",
    title="A dot product by a warp",
    target="csrc/paged_attention/paged_attention.cu:warp_dot",
    minutes=15,
    task="32 lanes compute the dot product of a query and a key together, and each of them returns it. Lane l takes "
    "the elements l, l + 32, l + 64, ... With head_dim 40, lanes 0 to 7 take two elements and the others one; lane 3 "
    "takes key[3] and key[35], times query[0] and query[1], which are its own.",
    hints=(
        "First each lane adds up its own products. Then the 32 sums must become one: lesson 09 did that with shuffles.",
        "Lane `threadIdx.x % 32` reads key[d] with d = lane + 32 * i, as long as d < head_dim; query[i] is the lane's "
        "own. `warp_sum(x)` gives every lane the sum of all lanes' x; all lanes must call it.",
        "float sum = 0.0f; for (int i = 0; i < DIMS_PER_LANE; ++i) { const int d = threadIdx.x % 32 + 32 * i; "
        "if (d < head_dim) { sum += query[i] * to_float(key[d]); } } return warp_sum(sum);",
    ),
    mutants=(
        Mutant(
            "return warp_sum(sum);",
            "return sum;",
            "Each lane returns the sum of its own products. `warp_sum` adds them up over the warp.",
        ),
        Mutant(
            "threadIdx.x % 32 + 32 * i",
            "threadIdx.x % 32",
            "Each lane takes the same element again and again. Its next one is 32 further.",
        ),
        Mutant(
            "if (d < head_dim) {",
            "if (true) {",
            "Lanes whose element lies beyond head_dim read what is behind the key. At the end of the cache there is "
            "nothing.",
        ),
        Mutant(
            "threadIdx.x % 32",
            "threadIdx.x",
            "`threadIdx.x` is the number in the thread block, which has four warps. The lane is its remainder by 32.",
        ),
    ),
)
def check_warp_dot() -> None:
    for head_dim in (32, 40, 128, 256):
        for element in sorted({0, 7, head_dim - 1, head_dim // 2 + 1}):
            key = torch.zeros(head_dim)
            key[element] = 1.0
            _expect_dot(torch.arange(1, head_dim + 1) / 64, key, f"a key of zeros with a 1 at {element}")
        _expect_dot(torch.full((head_dim,), 2.0 / head_dim), torch.ones(head_dim), "a key of ones")


def _expect_dot(query: torch.Tensor, key: torch.Tensor, text: str) -> None:
    """Two keys, one all zeros: its score is 0, so the weight of the other tells its own. Two heads: two warps."""
    head_dim = len(query)
    keys = torch.stack([torch.zeros(head_dim), key]).reshape(1, 2, 1, head_dim)
    values = torch.zeros_like(keys)
    values[0, 1, 0, 0] = values[0, 0, 0, 1] = 1.0
    first = "query 1/64, 2/64, ..." if query[0] != query[-1] else f"query of {query[0].item():g}"
    with given(f"head_dim {head_dim}, {first}, {text}; the query in both heads"):
        out = decode("paged_decode_2_warp_per_head", query.repeat(2, 1), keys, values, [0], 2)
        scores = (out[:, 0] / out[:, 1]).log2()
        expect(scores, torch.full((2,), float(query @ key)), "dot product in each head", tolerance=1e-4)


# --- 12.4 ---------------------------------------------------------------------------------------------------


@LESSON.exercise(
    "12.4",
    title="Merge the splits of a context",
    target="csrc/paged_attention/paged_attention.cu:merge_parts",
    minutes=20,
    requires=("12.2",),
    task="Some sets of keys were attended to apart. Each left an output and the logarithm (base 2) of its total "
    "weight. Merge them: the mean of the outputs, weighted by 2^lse. With outputs 10 and 40 and lses 1 and 2, the "
    "weights are 2 and 4, the result is (2 * 10 + 4 * 40) / 6 = 30, and `lse` becomes log2(6).",
    hints=(
        "The weights 2^lse may be too large for a float, or all too small. Only their ratios matter: what did the "
        "online softmax subtract?",
        "One loop finds the largest lse. A second adds up exp2f(lses[i] - largest), and that times parts[i * stride]. "
        "In the end lse is largest + log2f(total).",
        "float largest = lses[0]; for i from 1: largest = fmaxf(largest, lses[i]); then for i from 0: const float "
        "weight = exp2f(lses[i] - largest); total += weight; sum += weight * parts[i * stride]; at last lse = largest "
        "+ log2f(total); return sum / total;",
    ),
    mutants=(
        Mutant(
            "const float weight = exp2f(lses[i] - largest);",
            "const float weight = 1.0f;",
            "All parts count the same. A part with a larger total weight must count more: 2^lse.",
        ),
        Mutant(
            "return sum / total;",
            "return sum;",
            "The weighted outputs are added up and not divided by the sum of the weights.",
        ),
        Mutant(
            "exp2f(lses[i] - largest)",
            "exp2f(lses[i])",
            "2^lse does not fit into a float, or all of them vanish. Subtract the largest lse first; the ratios stay.",
        ),
        Mutant(
            "lse = largest + log2f(total);",
            "lse = largest;",
            "The result is right and its `lse` is not: it must stand for the weight of all parts together, because "
            "this result is merged again.",
        ),
        Mutant(
            "parts[static_cast<int64_t>(i) * stride]",
            "parts[i]",
            "Part i is `stride` elements further on than part i - 1.",
        ),
    ),
)
def check_merge_parts() -> None:
    launcher = "paged_decode_4_split_kv"
    for scores in ([0, 0], [0, 1], [3, 0], [0, 200], [-200, -201]):
        _expect_weights(launcher, scores, (2, 1))
    _expect_weights(launcher, [1, 4, 2, 0, 5], (3, 2))
    for context_len, splits in ((40, (2, 32)), (70, (3, 24))):
        size = 80
        keys = torch.zeros(1, size, 1, 32)
        values = torch.arange(size, dtype=torch.float32).reshape(1, size, 1, 1).expand(1, size, 1, 32)
        text = f"a context of {context_len} tokens, all scores 0, the value of token i is i"
        with given(f"{text}, in {splits[0]} splits of {splits[1]}"):
            query = torch.zeros(1, 32)
            out = decode(launcher, query, keys, values.contiguous(), [0], context_len, splits=splits)
            expect(out[0, 0].item(), (context_len - 1) / 2, "output", tolerance=1e-3)
