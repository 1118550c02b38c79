"""What each rank of an engine has: a model, or a part of one, over a pool of pages. One rank has all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import Operations
from yaie.kernels.sampling import to_device
from yaie.models.backend import choose_operations
from yaie.models.batch import Batch
from yaie.models.cuda_graph import DecodeGraphs
from yaie.parallel.group import ALONE, Group
from yaie.parallel.shards import local_config


class Decoder:
    """Runs a model over pages.

    graphs: runs the decode steps that it `takes`, faster; None where there is no such thing
    """

    def __init__(self, model: Any, kv: KVCacheManager, operations: Operations, graphs: Any = None) -> None:
        self.model, self.kv, self.operations, self.graphs = model, kv, operations, graphs

    @torch.inference_mode()
    def forward(self, batch: Batch, rows: list[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states of all tokens, `[num_tokens, hidden_size]`, and the logits of those in `rows` (None: all),
        `[len(rows), vocab_size]`."""
        if batch.token_ids.device != self.kv.device:  # it has come from rank 0
            batch = batch.to(self.kv.device)
        if self.graphs is not None and self.graphs.takes(batch):
            hidden = self.graphs.run(batch)
        else:
            hidden = self.model(batch, self.kv, self.operations)
        last = hidden if rows is None else hidden[to_device(torch.tensor(rows, dtype=torch.int64), self.kv.device)]
        return hidden, self.model.logits(last)


class Shard:
    """What each rank has: its part of the model, and a runner over its part of the pool. An engine of one rank has all.

    All ranks call the same methods in the same order. Only the model writes to the pool (a page that is shared is full,
    so none is copied to be written), and a batch says where; so ranks other than 0 keep no accounts of pages.
    """

    def __init__(self, group: Group = ALONE, model: Any = None) -> None:
        self.group, self.model = group, model
        self.runner: Decoder | None = None
        self.operations: Operations | None = None  # chosen once

    def load(self, folder: Path, dtype: torch.dtype) -> tuple:
        """As `load_model`."""
        from yaie.models.loader import load_model

        loaded = load_model(folder, dtype, self.group.device, self.group)
        self.model = loaded[0]
        return loaded

    def make_runner(
        self,
        kind: type[Decoder],
        num_blocks: int,
        block_size: int,
        backend: str | Operations,
        graphs: tuple[int, int] | None,
    ) -> Decoder:
        """A runner of this kind over a new pool; the old one is freed before.

        graphs: the largest number of sequences, and of their tokens; None: every step asks for each operation
        """
        self.runner, config = None, self.model.config
        shape = num_blocks, block_size, local_config(config, self.group.size).num_kv_heads, config.head_dim
        kv = KVCacheManager(*shape, self.model.dtype, config.num_layers, self.model.device)
        self.operations = self.operations or choose_operations(backend, self.model, kv)
        can_record = graphs and self.operations.name == "cuda"
        recorded = DecodeGraphs(self.model, kv, self.operations, *graphs) if can_record else None
        self.runner = kind(self.model, kv, self.operations, recorded)
        return self.runner

    def forward(self, batch: Batch, rows: list[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
        return self.runner.forward(batch, rows)
