from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_sectors, given
from yaie.course.language import engine_seam
from yaie.kernels import radix_ops, radix_tree


def _tree_of(prompts: list[list[int]]) -> radix_ops.FlatTree:
    tree = radix_tree.RadixTree()
    for i, prompt in enumerate(prompts):
        tree.insert_request(str(i), prompt)
    return radix_ops.flatten(tree.root)[0]


def check() -> None:
    module = engine_seam.module("radix_ops/match_prefixes.cu")
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
