from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.models import cuda_graph
from yaie.models.batch import Batch


def _batch(rows: list[tuple[int, int, int, int, list[int]]], width: int) -> Batch:
    """Rows of (token, position, slot, context, block table); tables are padded with 0 to `width`."""
    columns = list(zip(*rows, strict=True))
    token_ids, positions, slots, context_lens = (torch.tensor(column) for column in columns[:4])
    tables = torch.tensor([table + [0] * (width - len(table)) for table in columns[4]])
    return Batch(token_ids, positions, slots, tables, context_lens, [1] * len(rows))


def _static(size: int, width: int) -> Batch:
    """What a graph's tensors hold after an earlier batch: numbers that must not stay."""
    return _batch([(90 + row, 80 + row, 70 + row, 60 + row, [9] * width) for row in range(size)], width)


FILLED: tuple[tuple[int, int, list[tuple[int, int, int, int, list[int]]]], ...] = (
    # rows of the graph, width of its block tables, the batch
    (1, 2, [(5, 0, 12, 1, [3])]),
    (2, 3, [(5, 4, 28, 5, [3, 7])]),
    (4, 3, [(5, 4, 28, 5, [3, 7]), (6, 0, 4, 1, [1]), (7, 8, 8, 9, [4, 5, 2])]),
    (4, 4, [(row, row, row, row + 1, [row]) for row in range(4)]),
    (5, 2, [(5, 4, 28, 5, [3, 7]), (6, 0, 4, 1, [1])]),
)


def check() -> None:
    for size, width, rows in FILLED:
        static, batch = _static(size, width), _batch(rows, max(len(row[4]) for row in rows))
        names = ("token_ids", "positions", "slot_mapping", "context_lens", "block_tables")
        tensors = {name: getattr(static, name) for name in names}
        addresses = {name: tensor.data_ptr() for name, tensor in tensors.items()}
        before = {name: getattr(batch, name).tolist() for name in names}
        n = len(rows)
        with given(
            f"fill(static, batch); static has {size} rows; batch: {n} rows of (token, position, slot, context, "
            f"table) {rows}"
        ):
            cuda_graph.fill(static, batch)
            for name in names:
                expect(getattr(batch, name).tolist(), before[name], f"batch.{name} afterwards")
            replaced = [
                name
                for name in names
                if (now := getattr(static, name)) is not tensors[name] or now.data_ptr() != addresses[name]
            ]
            for name in replaced:
                note = "The graph reads the tensor that was there when it was captured, and no other."
                expect("another tensor", "the tensor that was there before", f"static.{name}", note=note)
            if replaced:
                continue  # nobody reads what is in it
            for name, padding in (("token_ids", 0), ("slot_mapping", -1), ("context_lens", 0)):
                expected = [*before[name], *[padding] * (size - n)]
                got = getattr(static, name).tolist()
                expect(got, expected, f"static.{name}", note=_note(got, expected, n))
            expect(static.positions[:n].tolist(), before["positions"], f"static.positions[:{n}]")
            for row, (*_, table) in enumerate(rows):
                got = static.block_tables[row, : len(table)].tolist()
                expect(got, table, f"static.block_tables[{row}, :{len(table)}]")


def _note(got: list[int], expected: list[int], n: int) -> str:
    """Whether the first wrong row is one of the batch's `n`."""
    wrong = next((row for row, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), None)
    if wrong is None:
        return ""
    return f"Row {wrong} is padding." if wrong >= n else f"Row {wrong} is row {wrong} of the batch."
