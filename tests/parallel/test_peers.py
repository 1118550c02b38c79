"""Sums through memory that processes share. One GPU is enough: its two ranks take turns on it."""

import signal
import subprocess
import sys

import pytest
import torch

# What each rank does, by its number. Rank 1 dies before the last sum.
SCRIPT = """
import os, signal, sys, time
import torch
import torch.distributed as dist
from yaie.models.cuda_graph import Capture
from yaie.parallel.peers import PeerMemory

rank, path, device = int(sys.argv[1]), sys.argv[2], torch.device("cuda", 0)
if rank == 0:  # it has had a group before
    PeerMemory(0, 1, dist.FileStore(path + "-before", 1), device)
peers = PeerMemory(rank, 2, dist.FileStore(path, 2), device)
for count in (8, 4096, 3 * 4096 + 8, 2**18):
    parts = [torch.arange(count, device=device).remainder(97 + other).half() for other in range(2)]
    for _ in range(3):
        assert torch.equal(peers.sum(parts[rank].clone()), parts[0] + parts[1])
assert peers.takes(parts[0]) and not peers.takes(parts[0][1:]) and not peers.takes(parts[0].double())
x = parts[rank]
replay = Capture()(lambda: [peers.sum(x) for _ in range(3)][-1])
x.fill_(1 + rank)
for turn in range(3):
    assert torch.equal(replay(), torch.full_like(x, 12 * 8**turn))
torch.cuda.synchronize()
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
peers.sum(x)
done = torch.cuda.current_stream().record_event()
time.sleep(1)
assert not done.query()
peers.stop()
done.synchronize()
peers.sum(x)
torch.cuda.synchronize()
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only memory of a GPU is shared so")
def test_processes_sum_through_shared_memory(tmp_path):
    """Would catch ranks that wait for each other because one of them has had a group before, sums that a CUDA graph
    does not repeat, memory that goes with its owner, and a GPU that waits for a dead rank for ever."""
    ranks = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(rank), str(tmp_path / "store")], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[1].decode() for process in ranks]
        assert [process.returncode for process in ranks] == [0, -signal.SIGKILL], said
    finally:
        for process in ranks:
            process.kill()
