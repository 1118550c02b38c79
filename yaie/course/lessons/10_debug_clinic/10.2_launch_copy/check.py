from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import copied_layers


def check() -> None:
    for num_layers, pairs in ((1, [(0, 1)]), (2, [(0, 1)]), (3, [(0, 1)]), (5, [(0, 1)]), (2, [(0, 2), (3, 1)])):
        with given(f"copy the blocks {pairs} (source, target), in {num_layers} layers"):
            wanted = copied_layers(num_layers, pairs, copy=by_hand)
            expect(copied_layers(num_layers, pairs), wanted, "numbers of each block, layer by layer")


def by_hand(keys, values, pairs) -> None:
    for cache in (keys, values):
        for source, target in pairs.tolist():
            cache[:, target] = cache[:, source]
