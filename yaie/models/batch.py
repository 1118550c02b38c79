"""What one step of the engine gives to the decoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from yaie.kernels.devices import to_device
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.paged import SharedPages, shared_pages


@dataclass
class Batch:
    """New tokens of several sequences, packed one sequence after the other without padding.

    The same batch may hold prompts, chunks of prompts and single decoded tokens: a sequence is a run of
    `query_lens[i]` rows, and its pages hold `context_lens[i]` tokens when the step is done. Tensors are int64.
    """

    token_ids: torch.Tensor  # [num_tokens]; -1 - place where `before` has it
    positions: torch.Tensor  # [num_tokens], the true position of each token in its sequence
    slot_mapping: torch.Tensor  # [num_tokens], where its key and value go: block * block_size + row
    block_tables: torch.Tensor  # [num_seqs, max_blocks], padded with 0
    context_lens: torch.Tensor  # [num_seqs], tokens in the pages after this step, the new ones included
    query_lens: list[int]  # new tokens of each sequence, at least 1; on the host
    lengths: list[int] | None = None  # `context_lens` on the host, so that to read them is not to wait for a GPU
    shared: Sequence[SharedPages] = ()  # pages that are to be read once
    awaits: bool = False  # whether the host may not know all tokens yet, because the step before is in flight
    before: torch.Tensor | None = None  # tokens of that step, on rank 0's device

    def __post_init__(self) -> None:
        self.lengths = self.context_lens.tolist() if self.lengths is None else self.lengths

    def move_to(self, device: torch.device) -> None:
        """Bring the tensors from the host to a device: one copy brings all of them, and nothing waits for it."""
        if self.token_ids.device == device:
            return
        tensors = self.token_ids, self.positions, self.slot_mapping, self.block_tables, self.context_lens
        packed = to_device(torch.cat([x.ravel() for x in tensors]), device).split([x.numel() for x in tensors])
        moved = [part.view(x.shape) for part, x in zip(packed, tensors, strict=True)]
        self.token_ids, self.positions, self.slot_mapping, self.block_tables, self.context_lens = moved

    def __getstate__(self) -> dict[str, Any]:
        """Pickled as arrays: a step's message to other ranks is small, and torch's way of pickling tensors is not.
        What is on a device stays there."""
        sent = vars(self) | {"before": None}
        return {name: x.numpy() if isinstance(x, torch.Tensor) else x for name, x in sent.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, x in state.items():
            setattr(self, name, torch.from_numpy(x) if isinstance(x, np.ndarray) else x)


def pack(
    token_ids: np.ndarray,
    starts: np.ndarray,
    query_lens: np.ndarray,
    tables: np.ndarray,
    block_size: int,
    shared: Sequence[SharedPages] = (),
) -> Batch:
    """The batch, on the host, of sequences that have `starts` `[num_seqs]` tokens in their pages already, whose
    `tables` are `[num_seqs, max_blocks]`. `token_ids` `[num_tokens]` are all new ones."""
    context_lens, sequence, positions = starts + query_lens, np.arange(len(starts)), starts
    if len(token_ids) > len(starts):  # else each has one
        sequence = sequence.repeat(query_lens)  # of each token
        positions = np.arange(len(token_ids)) + (context_lens - query_lens.cumsum())[sequence]
    slots = tables[sequence, positions // block_size] * block_size + positions % block_size
    tensors = map(torch.from_numpy, (token_ids, positions, slots, tables, context_lens))
    return Batch(*tensors, query_lens.tolist(), context_lens.tolist(), shared)


class TableRows:
    """The block tables of a step as an array. A row that stays is laid once, and gets a page when its sequence does.

    least_saved: for which saving, in pages, `shared` are looked for; None: never
    shared: pages that sequences of the step share, by their place in it. A page that a sequence gets later is its own,
        so as long as the same sequences stay, so does this.
    """

    def __init__(self, kv: KVCacheManager, least_saved: int | None = None) -> None:
        self.kv, self.least_saved = kv, least_saved
        self.shared: Sequence[SharedPages] = ()
        self.names: list[str] = []  # the sequences of the step, in order
        self.index = np.zeros(0, np.int64)  # where their rows are in `array`
        self.array = np.zeros((0, 0), np.int64)
        self.rows: dict[str, int] = {}  # by request id: of those of the last step that may stay

    def choose(self, stays: dict[str, bool], starts: np.ndarray) -> None:
        """Say which sequences the next steps have, in this order.

        stays: for each request id whether its table has only grown since the last step, if it was in that
        starts: `[num_seqs]`, tokens in the pages already
        """
        rows = {name: self.rows.get(name) if same else None for name, same in stays.items()}
        new = [name for name, row in rows.items() if row is None]
        self._lay(new, rows)
        names, index, shared = list(rows), np.fromiter(rows.values(), np.int64, len(rows)), self.shared
        if self.least_saved is not None and (new or self.names != names):
            full = starts // self.kv.block_size
            shared = shared_pages(self.array[index, : full.max()], full, self.least_saved)
        staying = {name: row for name, row in rows.items() if stays[name]}
        # At once: a cut leaves what belongs together.
        self.rows, self.names, self.index, self.shared = staying, names, index, shared

    def of(self, starts: np.ndarray, width: int) -> np.ndarray:
        """The tables of the sequences chosen, `[num_seqs, width]`, with 0 or what is left of others behind their pages.

        starts: as for `choose`; where one begins a page, that page is new
        """
        self._grow(len(self.array), width)
        if (begins := (starts % self.kv.block_size == 0).nonzero()[0]).size:
            for i in begins.tolist():
                page = int(starts[i]) // self.kv.block_size
                self.array[self.index[i], page] = self.kv.block_tables[self.names[i]][page]
        return self.array[self.index, :width]

    def _lay(self, new: list[str], rows: dict[str, int | None]) -> None:
        """Give rows to sequences, and write their tables there."""
        tables = [self.kv.block_tables[name] for name in new]
        self._grow(len(rows), max(map(len, tables), default=0))
        free = set(range(len(self.array))).difference(row for row in rows.values() if row is not None)
        for name, table in zip(new, tables, strict=True):
            rows[name] = row = free.pop()
            self.array[row, : len(table)] = table
            self.array[row, len(table) :] = 0

    def _grow(self, height: int, width: int) -> None:
        """Have room for so many rows of so many pages: twice as much where there is too little, so this is rare."""
        old = self.array
        if height > old.shape[0] or width > old.shape[1]:
            array = np.zeros((2 * max(height, old.shape[0]), 2 * max(width, old.shape[1])), np.int64)
            array[: old.shape[0], : old.shape[1]] = old
            self.array = array  # whole: a cut leaves the old one


def take_known(token_ids: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Token ids with those filled in that the host does not know: -1 - place stands for `tokens[place]`.

    A token that is -1 itself (its request is about to end with an error) becomes 0, which every vocabulary has.
    """
    places = (-1 - token_ids).clamp(min=0)
    return torch.where(token_ids < 0, tokens[places].clamp(min=0), token_ids)
