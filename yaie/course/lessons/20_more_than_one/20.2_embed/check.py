from __future__ import annotations

from types import SimpleNamespace

import torch

from yaie.course.expect import expect, given
from yaie.kernels.ops import operations
from yaie.models.llama import Llama
from yaie.parallel.group import Group

# tokens in the vocabulary, ranks, tokens to look up
CASES: tuple[tuple[int, int, list[int]], ...] = (
    (4, 1, [3, 0]),
    (2, 2, [0, 1]),
    (4, 2, [0]),
    (4, 2, [3]),
    (4, 2, [1, 2]),
    (4, 2, [0, 1, 2, 3]),
    (5, 2, [2, 3]),
    (5, 2, [4, 4, 0]),
    (5, 4, [0, 4, 3]),
    (7, 3, [6, 2, 3, 5, 0]),
)


class OneOfSeveral(Group):
    """A rank whose sums give back what it added; the check adds up the ranks itself."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.added = rank, size, []

    def all_reduce(self, x: torch.Tensor) -> torch.Tensor:
        self.added.append(x.clone())
        return x + 100


def check() -> None:
    ops = operations("torch")
    for vocab_size, size, ids in CASES:
        rows = torch.arange(1.0, 1 + 2 * vocab_size).view(vocab_size, 2)
        per_rank = -(-vocab_size // size)
        for rank in range(size):
            own = rows[rank * per_rank : (rank + 1) * per_rank]
            weight = torch.full((per_rank, 2), -1.0)
            weight[: len(own)] = own
            group = OneOfSeveral(rank, size) if size > 1 else Group()
            model = SimpleNamespace(
                embed_tokens=SimpleNamespace(weight=weight), group=group, config=SimpleNamespace(vocab_size=vocab_size)
            )
            told = f"rank {rank} of {size}, vocab_size {vocab_size}, weight {weight.tolist()}"
            with given(f"{told}: _embed({ids})"):
                out = Llama._embed(model, torch.tensor(ids), ops)
                if size == 1:
                    expect(out.tolist(), rows[ids].tolist(), "rows")
                    continue
                expect(len(group.added), 1, "number of sums over the ranks")
                held = range(rank * per_rank, rank * per_rank + len(own))
                wanted = [rows[id].tolist() if id in held else [0.0, 0.0] for id in ids]
                expect(group.added[0].tolist(), wanted, "what this rank gives to the sum")
                expect(
                    out.tolist(), (group.added[0] + 100).tolist(), "result (a sum that adds 100 stands for the others)"
                )
