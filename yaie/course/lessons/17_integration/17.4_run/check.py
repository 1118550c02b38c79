from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.kernels.kv_cache import KVCacheManager
from yaie.models.batch import Batch
from yaie.models.cuda_graph import DecodeGraphs

NOBODYS = "A capture runs the step, and so stores the keys of whatever is in the static batch."
Row = tuple[int, int]  # token, slot


class Recorder:
    """Captures as a CUDA graph does: runs the step, then plays it again with what its tensors hold, into one result."""

    def __init__(self) -> None:
        self.captures = 0
        self.replays = 0

    def __call__(self, step: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        self.captures += 1
        if not callable(step):
            note = "A capture runs the step itself, more than once: pass a function, not what a call of it returns."
            raise Mismatch("argument of `self.capture`", f"a {type(step).__name__}", "a function", note=note)
        step()
        result = step()

        def replay() -> torch.Tensor:
            self.replays += 1
            return result.copy_(step())

        return replay


class Model:
    """Its hidden states are token and slot of each row; it stores the token in its slot."""

    def __init__(self) -> None:
        self.stored: dict[int, int] = {}
        self.rows: list[int] = []

    def __call__(self, batch: Batch, kv: Any, operations: Any, plan: Any) -> torch.Tensor:
        self.rows.append(len(batch.token_ids))
        tokens, slots = batch.token_ids.tolist(), batch.slot_mapping.tolist()
        self.stored |= {slot: token for slot, token in zip(slots, tokens, strict=True) if slot >= 0}
        return torch.stack([batch.token_ids, batch.slot_mapping], dim=1).float()


def check() -> None:
    sequences: tuple[tuple[list[Row], ...], ...] = (
        ([(5, 9)],),
        ([(5, 9), (6, 13), (7, 21)],),
        ([(5, 9)], [(6, 10)]),
        ([(5, 9), (6, 13), (7, 21)], [(15, 10), (16, 14), (17, 22), (18, 30)], [(25, 11)]),
        ([(number, 2 * number + 1) for number in range(1, 9)], [(90 + n, 40 + n) for n in range(5)], [(3, 62)]),
    )
    for batches in sequences:
        model, recorder = Model(), Recorder()
        kv = KVCacheManager(num_blocks=16, block_size=4, num_heads=1, head_dim=2, dtype=torch.float32)
        operations: Any = SimpleNamespace(decode_plan=lambda *arguments: None)
        graphs = DecodeGraphs(model, kv, operations, max_num_seqs=8, max_model_len=32, capture=recorder)
        buckets: set[int] = set()
        written: dict[int, int] = {}
        for call, rows in enumerate(batches, 1):
            model.rows.clear()
            bucket = next(size for size in (1, 2, 4, 8) if size >= len(rows))
            buckets.add(bucket)
            written |= {slot: token for token, slot in rows}
            with given(f"call {call} of run, buckets 1, 2, 4 and 8; batches of (token, slot) so far: {batches[:call]}"):
                result = graphs.run(_batch(rows))
                wanted = [[float(token), float(slot)] for token, slot in rows]
                ends = result.tolist()[-1:] == [[0.0, -1.0]] and len(result) == len(wanted)
                note = "The last of these rows is padding. The batch is in the first ones." if ends else ""
                expect(result.tolist(), wanted, "hidden states (here token and slot of each row)", note=note)
                expect(set(model.rows), {bucket}, "numbers of rows that the step computed")
                expect(recorder.captures, len(buckets), "number of captures")
                expect(recorder.replays, call, "number of replays")
                expect(model.stored, written, "token in each slot that was written", note=NOBODYS)


def _batch(rows: list[Row]) -> Batch:
    tokens, slots = (torch.tensor(column) for column in zip(*rows, strict=True))
    return Batch(tokens, slots % 4, slots, slots[:, None] // 4, slots % 4 + 1, [1] * len(rows))
