"""Sums of small tensors by one kernel on each GPU of a machine, which reads the memory of the others.

Each rank has some memory that the others map into their process (CUDA's inter-process memory, as PyTorch shares tensors
between processes). The ranks exchange the handles by the store of their group, so what a process did before has no part
in it. Not PyTorch's symmetric memory: that counts its exchanges by process, and rank 0 may have had a group before.
"""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from itertools import permutations

import torch
import torch.distributed as dist
from torch import Tensor

from yaie.kernels.ops.launching import DTYPES, load, obstacle

# As in csrc/parallel/sum_over_ranks.cu.
MOST_RANKS, MOST_BLOCKS, PLACE_BYTES = 8, 256, 2**20
FLAG_BYTES = MOST_BLOCKS * MOST_RANKS * 4
HEAD_BYTES = FLAG_BYTES + 16


class PeerMemory:
    """What a rank needs for these sums. It is made on all ranks at once, and so are its sums, as all of a `Group`."""

    @staticmethod
    def is_possible(size: int) -> bool:
        """Whether `size` GPUs reach each other's memory, and kernels of ours can run. Who tells NCCL by
        NCCL_P2P_DISABLE that they do not means us, too."""
        if size > MOST_RANKS or os.environ.get("NCCL_P2P_DISABLE", "0") not in ("", "0") or obstacle("cuda"):
            return False
        return all(torch.cuda.can_device_access_peer(*pair) for pair in permutations(range(size), 2))

    def __init__(self, rank: int, size: int, store: dist.Store, device: torch.device) -> None:
        self.rank, self.size = rank, size
        own = torch.zeros(HEAD_BYTES + 2 * PLACE_BYTES, dtype=torch.uint8, device=device)
        torch.cuda.synchronize(device)  # the others write to it as soon as they know of it
        _, *handle, _ = own.untyped_storage()._share_cuda_()  # without the device, and whether to wait for an event
        store.set(f"memory/{rank}", pickle.dumps(handle))

        def memory_of(other: int) -> Tensor:
            handle = pickle.loads(store.get(f"memory/{other}"))
            # Opened for this rank's device, whose kernels read it; PyTorch takes it for memory of that.
            storage = torch.UntypedStorage._new_shared_cuda(device.index, *handle, False)
            # The owner need not keep it until this rank lets go of it: one without the other computes nothing.
            torch.UntypedStorage._release_ipc_counter_cuda(*handle[3:5])
            return own.new_empty(0).set_(storage)

        self._memory = [own if other == rank else memory_of(other) for other in range(size)]
        self._memory += [None] * (MOST_RANKS - size)
        self._launch = load("parallel/sum_over_ranks.cu", "cuda").sum_over_ranks
        self._stop, self._stopped = own[FLAG_BYTES:HEAD_BYTES], torch.ones(16, dtype=torch.uint8).pin_memory()
        self._stream = torch.cuda.Stream(device)

    def takes(self, x: Tensor) -> bool:
        """Whether all that a rank would read of others fits in a place: beyond that a ring has less to move."""
        return (
            x.dtype in DTYPES
            and x.is_contiguous()
            and x.nbytes * (self.size - 1) <= PLACE_BYTES
            and (x.nbytes | x.data_ptr()) % 16 == 0
        )

    def sum(self, x: Tensor) -> Tensor:
        """The sum of all ranks' `x`, in place."""
        self._launch(x, x, *self._memory, self.rank, self.size, x.nbytes, DTYPES[x.dtype])
        return x

    def stop(self) -> None:
        """Let kernels end that wait for a dead rank, those still to come, too. What they sum is of no use.

        A copy, since a kernel might find no room beside those that wait.
        """
        with suppress(RuntimeError), torch.cuda.stream(self._stream):  # a GPU that has failed runs none of them
            self._stop.copy_(self._stopped, non_blocking=True)
