"""What each rank of an engine has: a model, or a part of one, over a pool of pages. One rank has all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from yaie.kernels import ops
from yaie.kernels.checks import require
from yaie.kernels.devices import to_device
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import BackendError, Operations
from yaie.models.batch import Batch, take_known
from yaie.models.config import ModelConfig
from yaie.models.cuda_graph import DecodeGraphs
from yaie.parallel.group import ALONE, Group
from yaie.parallel.ranks import Ranks
from yaie.parallel.shards import local_config

# What the pool may take if no number of pages is given. All three are choices.
CPU_POOL_BYTES = 256 * 2**20  # a laptop does not miss it
GPU_POOL_FRACTION = 0.8  # of the free memory; the rest is for activations
EMULATOR_POOL_BYTES = 8 * 2**20  # little: each launch copies a layer of it to the emulator's memory and back


@torch.inference_mode()
def try_out(model: Any, kv: KVCacheManager, operations: Operations) -> None:
    """Raise `BackendError` if kernels cannot run this model: better now than in the middle of a request.

    One token that belongs to no request goes through the model; it is stored nowhere, and sees the first slot.
    """
    if operations.name == "cuda":  # nvcc takes its time; the emulator's files are ready in a second or two
        operations.prepare()
    zero = torch.zeros(1, dtype=torch.int64, device=kv.device)
    nowhere = zero - 1  # the slot of padding
    model(Batch(zero, zero, nowhere, zero[None], zero + 1, [1], [1]), kv, operations)


def choose_operations(backend: str | Operations, model: Any, kv: KVCacheManager) -> Operations:
    """What computes for an engine that was asked for `backend`: decided once, by trying one token with kernels."""
    if not isinstance(backend, str):
        return backend
    on_gpu = kv.device.type == "cuda"

    def obstacle(name: str) -> str | None:
        if (reason := ops.obstacle(name)) or name == "torch" or on_gpu != (name == "cuda"):
            return reason
        try:
            try_out(model, kv, ops.operations(name))
        except BackendError as error:
            return str(error)
        return None

    return ops.operations(ops.resolve(backend, on_gpu, obstacle))


class Shard:
    """What each rank has: its part of the model, over its part of the pool. An engine of one rank has all.

    All ranks call the same methods in the same order. Only the model writes to the pool (a page that is shared is full,
    so none is copied to be written), and a batch says where; so ranks other than 0 keep no accounts of pages.
    """

    def __init__(self, group: Group = ALONE, model: Any = None) -> None:
        self.group, self.model = group, model
        self.kv: KVCacheManager | None = None
        self.operations: Operations | None = None  # chosen once
        self.graphs: Any = None  # runs the decode steps that it `takes`, faster; None where there is no such thing

    def load(self, folder: Path, dtype: torch.dtype) -> tuple:
        from yaie.models.loader import load_model

        loaded = load_model(folder, dtype, self.group.device, self.group)
        self.model = loaded[0]
        return loaded

    def make_pool(
        self, num_blocks: int, block_size: int, backend: str | Operations, graphs: tuple[int, int] | None
    ) -> Shard:
        """Make a new pool; the old one is freed before. Returns itself.

        graphs: the largest number of sequences, and of their tokens; None: every step asks for each operation
        """
        self.kv, self.graphs, config = None, None, self.model.config
        shape = num_blocks, block_size, local_config(config, self.group.size).num_kv_heads, config.head_dim
        self.kv = KVCacheManager(*shape, self.model.dtype, config.num_layers, self.model.device)
        self.operations = self.operations or choose_operations(backend, self.model, self.kv)
        if graphs and self.operations.name == "cuda":
            self.graphs = DecodeGraphs(self.model, self.kv, self.operations, *graphs)
        return self

    @torch.inference_mode()
    def forward(self, batch: Batch, rows: list[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states of all tokens, `[num_tokens, hidden_size]`, and the logits of those in `rows` (None: all),
        `[len(rows), vocab_size]`."""
        batch.move_to(self.kv.device)
        if batch.awaits:  # rank 0's device has the tokens of the step before; the others need not choose them too
            is_here = batch.before is not None
            token_ids = take_known(batch.token_ids, batch.before) if is_here else batch.token_ids
            batch.token_ids = self.group.broadcast(token_ids)
        if self.graphs is not None and self.graphs.takes(batch):
            hidden = self.graphs.for_batch(batch).run(batch)
        else:
            hidden = self.model(batch, self.kv, self.operations)
        last = hidden if rows is None else hidden[to_device(torch.tensor(rows, dtype=torch.int64), self.kv.device)]
        return hidden, self.model.logits(last)


def load_split(name: str | Path, dtype: torch.dtype, device: str, size: int, kind: type[Shard]) -> tuple[Ranks, tuple]:
    """Start ranks and have each load its part of a model, as this kind; and what that returned here, on rank 0."""
    from yaie.models.loader import find_folder

    num_gpus = torch.cuda.device_count()
    require(device in ("cpu", "cuda"), "ranks take the GPUs from 0 on: device must be 'cuda' or 'cpu'", device)
    require(device == "cpu" or size <= num_gpus, f"tensor_parallel must be at most the {num_gpus} GPUs here", size)
    folder = find_folder(name)  # fetched by one, if it must be
    local_config(ModelConfig.from_folder(folder), size)  # refused before anything is started
    ranks = Ranks(size, device, kind)
    try:
        return ranks, ranks.call("load", folder, dtype)
    except BaseException:
        ranks.close()
        raise


def affordable_blocks(model: Any, config: ModelConfig, block_size: int, num_ranks: int, backend: str) -> int:
    """How many pages a pool for this model may have, at least one."""
    local = local_config(config, num_ranks)
    values_per_token = 2 * local.num_layers * local.num_kv_heads * local.head_dim  # keys and values
    if model.device.type == "cuda":
        budget = int(torch.cuda.mem_get_info(model.device)[0] * GPU_POOL_FRACTION)
    else:
        budget = EMULATOR_POOL_BYTES if backend == "emulator" else CPU_POOL_BYTES
    return max(1, budget // (block_size * values_per_token * model.dtype.itemsize))
