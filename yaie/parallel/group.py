"""What ranks compute together: a sum, and the parts of a whole side by side.

All ranks must call the same functions in the same order, with tensors of the same shape, or they wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# A rank that runs and yet takes longer for one step hangs. Those that do not run any more are noticed by `ranks`.
TIMEOUT = timedelta(minutes=10)


class CollectiveError(RuntimeError):
    """The ranks could not compute together: one of them has ended, and not necessarily this one's neighbour."""


class Group:
    """A single rank, which has the whole of everything."""

    rank, size, device = 0, 1, torch.device("cpu")

    def all_reduce(self, x: Tensor) -> Tensor:
        """The sum of all ranks' `x`, on every rank; may change `x`."""
        return x

    def all_gather(self, x: Tensor) -> Tensor:
        """`[..., n]` of each rank to `[..., size * n]`, in the order of ranks, on every rank."""
        return x

    def broadcast(self, x: Tensor) -> Tensor:
        """Rank 0's `x` on every rank; may change `x`."""
        return x


ALONE = Group()


class ProcessGroup(Group):
    """One of several ranks: gloo connects them on the CPU, NCCL on GPUs. It waits until all are there.

    It is none of torch's default groups, of which a process has one: several engines in one process do not meet.

    file: a path that all ranks share; nothing is there before. `device`: of this rank.
    """

    def __init__(self, rank: int, size: int, file: str, device: torch.device) -> None:
        self.rank, self.size, self.device = rank, size, device
        store = dist.FileStore(file, size)
        kind = "NCCL" if device.type == "cuda" else "gloo"
        if not (dist.is_available() and getattr(dist, f"is_{kind.lower()}_available")()):
            raise CollectiveError(f"several ranks on {device.type} need {kind}, which this build of torch lacks")
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)
                # `ranks` notices a dead rank and says which; NCCL's own watch would end this process first.
                os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
                options = dist.ProcessGroupNCCL.Options()
                options._timeout = TIMEOUT
                self._group = dist.ProcessGroupNCCL(store, rank, size, options)
            else:
                options = dist.ProcessGroupGloo._Options()
                options._timeout = TIMEOUT
                # All ranks are on this machine, and nobody else should reach them.
                options._devices = [dist.ProcessGroupGloo.create_device(hostname="127.0.0.1")]
                self._group = dist.ProcessGroupGloo(store, rank, size, options)
        except RuntimeError as error:
            raise CollectiveError(f"rank {rank} could not connect: {error}") from error

    def all_reduce(self, x: Tensor) -> Tensor:
        self._do(self._group.allreduce, dist.AllreduceOptions(), [x])
        return x

    def all_gather(self, x: Tensor) -> Tensor:
        rows = x.new_empty(self.size * x.shape[0], *x.shape[1:])
        self._do(self._group._allgather_base, dist.distributed_c10d.AllgatherOptions(), rows, x)
        return torch.cat(rows.chunk(self.size), dim=-1)

    def broadcast(self, x: Tensor) -> Tensor:
        self._do(self._group.broadcast, dist.BroadcastOptions(), [x])
        return x

    def _do(self, collective: Callable[..., Any], options: Any, *tensors: Any) -> None:
        # In line with the kernels around it. On a stream of its own, NCCL's usual way, each of the sums of a step costs
        # two waits of one stream for another.
        options.asyncOp = False
        try:
            if (work := collective(*tensors, options)) is not None:  # NCCL gives None: its kernel is in line
                work.wait()
        except RuntimeError as error:
            raise CollectiveError(str(error)) from error

    def abort(self) -> None:
        """End what NCCL is doing: its kernels on the GPU would wait for a dead rank for ever."""
        self._group.abort()
