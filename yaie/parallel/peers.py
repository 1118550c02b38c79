"""Sums of small tensors by one kernel on each GPU of a machine, which reads the memory of the others.

NCCL's ring takes about twice as long for what a decode step sums. PyTorch's symmetric memory gives memory that several
processes reach; the kernel is ours (csrc/parallel/sum_over_ranks.cu).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from yaie.kernels.ops.launching import DTYPES, load, obstacle

# As in csrc/parallel/sum_over_ranks.cu.
MOST_RANKS, MOST_BLOCKS, PLACE_BYTES = 8, 256, 2**20
FLAG_BYTES = MOST_BLOCKS * MOST_RANKS * 4
PASSED = 2**31 - 1  # a turn that is after all others


class _CountsAnew(dist.Store):
    """A store in which the exchanges of a group count from 0. PyTorch counts those of all symmetric memory that a
    process ever had ("prefix/count/rank"), so ranks that have had different numbers of groups would not meet.
    """

    def __init__(self, store: dist.Store) -> None:
        super().__init__()
        self._store, self._first = store, None

    def _here(self, key: str) -> str:
        prefix, count, rank = key.rsplit("/", 2)
        self._first = int(count) if self._first is None else self._first
        return f"{prefix}/{int(count) - self._first}/{rank}"

    def set(self, key: str, value: bytes) -> None:
        self._store.set(self._here(key), value)

    def get(self, key: str) -> bytes:
        return self._store.get(self._here(key))

    def wait(self, keys: list[str], *timeout: Any) -> None:
        self._store.wait([self._here(key) for key in keys], *timeout)


class PeerMemory:
    """What a rank needs for these sums. It is made on all ranks at once, and so are its sums, as all of a `Group`."""

    @staticmethod
    def is_possible(size: int) -> bool:
        """Whether `size` GPUs reach each other's memory, and kernels of ours can run."""
        pairs = ((a, b) for a in range(size) for b in range(size) if a != b)
        reached = size <= MOST_RANKS and all(torch.cuda.can_device_access_peer(a, b) for a, b in pairs)
        return reached and obstacle("cuda") is None

    def __init__(self, backend: Any, rank: int, size: int, file: str, device: torch.device) -> None:
        """backend: NCCL's, of the same ranks; file: a path that all ranks share, of these ranks alone"""
        from torch._C._distributed_c10d import _register_process_group, _SymmetricMemory

        self.rank, self.size, self.device, name = rank, size, device, Path(file).parent.name
        # PyTorch finds the ranks by the name of a group.
        nccl, self._store = dist.ProcessGroup.BackendType.NCCL, _CountsAnew(dist.FileStore(f"{file}-peers", size))
        self._group = dist.ProcessGroup(self._store, rank, size)
        self._group._set_default_backend(nccl)
        self._group._register_backend(device, nccl, backend)
        self._group._set_group_name(name)
        _register_process_group(name, self._group)
        num_bytes = FLAG_BYTES + 2 * PLACE_BYTES
        own = _SymmetricMemory.empty_strided_p2p((num_bytes,), (1,), torch.uint8, device, name).zero_()
        self._turns = torch.zeros(MOST_BLOCKS, dtype=torch.int32, device=device)
        torch.cuda.synchronize(device)  # the others may tell of their turns as soon as they have met this rank
        self._handle = _SymmetricMemory.rendezvous(own, name)
        self._memory = [self._handle.get_buffer(r, (num_bytes,), torch.uint8) for r in range(size)]
        self._rest = [None] * (MOST_RANKS - size)
        self._launch = load("parallel/sum_over_ranks.cu", "cuda").sum_over_ranks

    def takes(self, x: Tensor) -> bool:
        return (
            x.dtype in DTYPES and x.is_contiguous() and x.nbytes <= PLACE_BYTES and (x.nbytes | x.data_ptr()) % 16 == 0
        )

    def sum(self, x: Tensor) -> Tensor:
        """The sum of all ranks' `x`, in place."""
        memory = (*self._memory, *self._rest)
        self._launch(x, x, *memory, self._turns, self.rank, self.size, x.nbytes, DTYPES[x.dtype])
        return x

    def release(self) -> None:
        """Let kernels end that wait for a dead rank, those still to come, too. What they sum is of no use."""
        with torch.cuda.stream(torch.cuda.Stream(self.device)):
            self._memory[self.rank][:FLAG_BYTES].view(torch.int32).fill_(PASSED)
