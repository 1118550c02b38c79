"""Lesson 16: prefix matches of many requests, pages collected, and a token chosen without a sort, all on the GPU."""

from __future__ import annotations

import math

import numpy as np
import torch

from yaie.course.expect import expect, expect_sectors, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import native, radix_ops, radix_tree
from yaie.kernels.sampling import Settings

LESSON = Lesson(16, "radix_and_sampling", "Radix and sampling operations on the GPU", minutes=110)


def _tree_of(prompts: list[list[int]]) -> radix_ops.FlatTree:
    tree = radix_tree.RadixTree()
    for i, prompt in enumerate(prompts):
        tree.insert_request(str(i), prompt)
    return radix_ops.flatten(tree.root)[0]


@LESSON.exercise(
    "16.1",
    title="Compare tokens as a warp",
    target="csrc/radix_ops/match_prefixes.cu:common_prefix_of_warp",
    minutes=20,
    requires=("1.1", "9.1"),
    task="Return how many tokens `a` and `b` have in common from the start, `count` at most. A warp does it together: "
    "lane l compares token l, then token l + 32, and so on, and after each 32 the warp votes whether some lane has "
    "found a difference. With a = [5, 6, 7, 8], b = [5, 6, 9, 8] and count = 4 every lane returns 2.",
    hints=(
        "`const unsigned differ = __ballot_sync(FULL_WARP, ...)` gives every lane the same number, in which bit l says "
        "what lane l answered. All 32 lanes must vote, also those beyond the end: they answer false.",
        "The first difference is the lowest bit that is set. `__ffs(differ)` is the place of that bit, counted from 1; "
        "it is 0 if no bit is set.",
        "for (int64_t first = 0; first < count; first += 32) { const int64_t i = first + threadIdx.x % 32; const "
        "unsigned differ = __ballot_sync(FULL_WARP, i < count && a[i] != b[i]); if (differ != 0) { return first + "
        "__ffs(differ) - 1; } } return count;",
    ),
    mutants=(
        Mutant(
            "i < count && a[i] != b[i]",
            "a[i] != b[i]",
            "Lanes beyond `count` compare, too. They read what does not belong to the tokens, and must vote false.",
        ),
        Mutant(
            "return first + __ffs(differ) - 1;",
            "return first + __ffs(differ);",
            "`__ffs` counts bits from 1: the lowest bit gives 1, and that is lane 0.",
        ),
        Mutant(
            "return first + __ffs(differ) - 1;",
            "return __ffs(differ) - 1;",
            "The tokens of the earlier rounds are missing: a difference in lane l of a round that begins at `first` is "
            "at token first + l.",
        ),
    ),
)
def check_common_prefix() -> None:
    module = native.module("radix_ops/match_prefixes.cu", "emulator", check=True)
    cases = [([5, 6, 7, 8], [5, 6, 9, 8]), ([5, 6, 7], [5, 6, 7]), ([5, 6, 7], [5, 6]), ([5], [6])]
    for length in (31, 32, 33, 65, 100):
        for place in sorted({0, length // 2, length - 1}):
            other = list(range(length))
            other[place] = -1
            cases.append((list(range(length)), other))
        cases.append((list(range(length)), list(range(length))))
    for known, asked in cases:
        pairs = enumerate(zip(known, asked, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(known), len(asked)))
        tree, positions = _tree_of([known]), torch.full((3, 1), -1)
        what = f"{known}, asked for {asked}"
        if len(known) > 8:
            what = f"{len(known)} tokens, asked for {len(asked)}, of which the first {same} are the same"
        with given(f"match_prefixes_2_warp with a tree that knows {what}"):
            arrays = (tree.edges, tree.starts, tree.children, 1)
            rows, lengths = torch.tensor([asked]), torch.tensor([len(asked)])
            module.match_prefixes_2_warp(*arrays, rows, lengths, positions, 1, len(asked))
            expect(int(positions[2, 0]), same, "length of the match")
    tree, rows = _tree_of([list(range(256))]), torch.arange(256)[None]
    with given("profile of match_prefixes_2_warp, one row of 256 tokens that are all known"):
        profile = module.profile(
            "match_prefixes_2_warp", tree.edges, tree.starts, tree.children, 1, rows, torch.tensor([256]),
            torch.zeros(3, 1, dtype=torch.int64), 1, 256,
        )  # fmt: skip
        expect_sectors(profile, 8, note="Neighbouring lanes compare neighbouring tokens of 8 bytes.")


@LESSON.exercise(
    "16.2",
    title="Collect the pages of a match",
    target="csrc/memory/gather_pages.cu:gather_pages_kernel",
    minutes=10,
    requires=("3.4", "9.2"),
    task="Collect the keys (or values) of a request from its pages into one piece, in the order of its positions. "
    "Thread block p copies the token at position p: it lies in row p % block_size of block block_table[p / "
    "block_size]. Its threads share the `units_per_token` units. With block_size 2 and block_table = [3, 0], position "
    "2 comes from row 0 of block 0, which is slot 0.",
    hints=(
        "The slot is `block_table[position / block_size] * block_size + position % block_size`, as in lesson 02.",
        "The token's row begins at `slot * units_per_token` in the cache and at `position * units_per_token` in `out`. "
        "Compute in 64 bits.",
        "const int64_t position = blockIdx.x; const int64_t slot = ...; for (int64_t i = threadIdx.x; i < "
        "units_per_token; i += blockDim.x) { out[position * units_per_token + i] = cache[slot * units_per_token + i]; "
        "}",
    ),
    mutants=(
        Mutant(
            "block_table[position / block_size] * block_size + position % block_size",
            "block_table[position / block_size] * block_size",
            "Every token of a block came from the block's first row. Add the row, position % block_size.",
        ),
        Mutant(
            "block_table[position / block_size] * block_size + position % block_size",
            "position",
            "The pages were read in the order of the pool. Where a position lies is what `block_table` says.",
        ),
        Mutant(
            "i += blockDim.x) {\n        out",
            "i += units_per_token) {\n        out",
            "A token with more units than the block has threads was copied in part.",
        ),
    ),
)
def check_gather_pages() -> None:
    module = native.module("memory/gather_pages.cu", "emulator", check=True)
    for num_blocks, block_size, row, table, context_len in (
        (4, 2, 2, [3, 0], 3),
        (3, 1, 3, [2, 0, 1], 3),
        (5, 4, 5, [4, 1], 7),
        (2, 3, 1200, [1], 2),
    ):
        cache = torch.arange(num_blocks * block_size * row, dtype=torch.int32).view(num_blocks, block_size, row)
        wanted = cache[table].view(-1, row)[:context_len]
        out = torch.full((context_len, row), -1, dtype=torch.int32)
        with given(
            f"gather_pages from {num_blocks} blocks of {block_size} tokens of {row} numbers (0, 1, 2, ...), "
            f"block_table = {table}, context_len = {context_len}"
        ):
            module.gather_pages(cache, torch.tensor([*table, 10**9]), out, context_len, block_size, 4 * row)
            expect(out, wanted, "out")


def _kept(rows: torch.Tensor, settings: Settings) -> list[list[int]]:
    """The tokens that each row keeps, by a sort."""
    kept = []
    for row, top_k, top_p in zip(rows, settings.top_k, settings.top_p, strict=True):
        order = np.argsort(-row.double().numpy(), kind="stable")
        order = order[:top_k] if top_k > 0 else order
        weights = np.exp(row.double().numpy()[order] - row.max().item())
        before = np.cumsum(weights) - weights
        kept.append(sorted(order[before < top_p * weights.sum()].tolist() if top_p < 1 else order.tolist()))
    return kept


@LESSON.exercise(
    "16.3",
    title="Top-k and top-p without a sort",
    target="csrc/sampling/sample_2_radix.cu:radix_limit",
    minutes=25,
    requires=("4.2", "4.3", "9.4"),
    task="Find the smallest limit up to which there are `target` tokens, or that much mass, digit by digit from the "
    "highest. `count_digits` counts the values of one digit among the tokens that agree with the digits found so far; "
    "`find_digit` says which value the limit has there, and what lies before it. With digits of one decimal place, the "
    "orders 12, 15, 31, 47 and target 3: the first digit is 3 (two orders lie before it), so one more is wanted "
    "among the orders that begin with 3, and the limit is 31.",
    hints=(
        "A loop over `shift`: the highest digit first, DIGIT_BITS less in each round, until 0. In each round: count, "
        "find, take `histogram.before` off the target, and put `histogram.digit` behind what was found.",
        "The highest digit begins at `(31 + row.id_bits - 1) / DIGIT_BITS * DIGIT_BITS`. Behind what was found means "
        "`found = found << DIGIT_BITS | histogram.digit`. It is right without the early end, only slower.",
        "for (int shift = highest; shift >= 0; shift -= DIGIT_BITS) { count_digits(row, by_mass, found, shift, "
        "histogram); find_digit(by_mass, target, histogram, scratch); target -= histogram.before; found = found << "
        "DIGIT_BITS | histogram.digit; if (histogram.count[histogram.digit] == 1) { return ((found + 1) << shift) - 1; "
        "} } return found;",
    ),
    mutants=(
        Mutant(
            "        target -= histogram.before;\n",
            "",
            "What lies before the digit has been counted already. Take `histogram.before` off the target, or the next "
            "digit is looked for too far along.",
        ),
        Mutant(
            "return ((found + 1) << shift) - 1;",
            "return found << shift;",
            "When one token is left the limit must reach it, whatever its digits below are: the largest number that "
            "begins with the digits found.",
        ),
        Mutant(
            "histogram.count[histogram.digit] == 1",
            "histogram.count[histogram.digit] >= 1",
            "The search ended while several tokens agreed. All of them are kept then, and not only the best.",
        ),
    ),
)
def check_radix_limit() -> None:
    from yaie.kernels.native import sampling

    ties = [3.0, 1.0, 3.0, 2.0, 3.0, 0.0, 2.0]
    close = (torch.arange(40) % 7 * 0.25 - torch.arange(40) * 1e-3).tolist()
    cases = [
        ([1.0, 4.0, 2.0, 3.0], 2, 1.0),
        ([1.0, 4.0, 2.0, 3.0], -1, 0.7),
        (ties, 2, 1.0),
        (ties, 4, 1.0),
        (ties, -1, 0.5),
        (ties, 5, 0.6),
        (close, 7, 1.0),
        (close, -1, 0.43),
        ([0.0] * 33, 5, 1.0),
        ([2.0, -math.inf, 2.0, 1.0], 2, 1.0),
    ]
    for logits, top_k, top_p in cases:
        rows, settings = torch.tensor([logits]), Settings([1.0], [top_p], [top_k], [0.0])
        wishes = [f"top_k = {top_k}"] * (top_k > 0) + [f"top_p = {top_p}"] * (top_p < 1)
        shown = logits if len(logits) < 9 else f"[{logits[0]}, {logits[1]}, ...], {len(logits)} of them"
        with given(f"logits {shown}; {' and '.join(wishes)}"):
            uniforms = torch.tensor([0.5], dtype=torch.float64)
            _, limits = sampling.launch("emulator", rows, settings, uniforms, rung=2, check=True, with_limits=True)
            kept = sampling.kept_by(limits, rows, settings)[0].nonzero().flatten().tolist()
            expect(kept, _kept(rows, settings)[0], "ids of the tokens that are kept")
