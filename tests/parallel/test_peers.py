"""Sums through the memory of other GPUs: the kernel as one of several ranks whose peers have written already, and the
store by which ranks meet."""

import time

import pytest
import torch
import torch.distributed as dist

import yaie.cuda
from yaie.kernels.ops.launching import CSRC, DTYPES
from yaie.parallel.peers import FLAG_BYTES, MOST_BLOCKS, MOST_RANKS, PASSED, PLACE_BYTES, _CountsAnew

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def test_a_sum_over_ranks():
    """Would catch a rank left out or added twice, places that do not take turns, a thread block that is not told or
    does not tell, and an end that is not whole."""
    launch = yaie.cuda.load(CSRC / "parallel/sum_over_ranks.cu").sum_over_ranks
    num_ranks, rank, count = 3, 1, 4 * 300  # in float32 two thread blocks, the second one not full
    for dtype in DTYPES:
        parts = [torch.randn(count).to(dtype).to(DEVICE) for _ in range(num_ranks)]
        memory = [torch.zeros(FLAG_BYTES + 2 * PLACE_BYTES, dtype=torch.uint8, device=DEVICE) for _ in parts]
        flags = [each[:FLAG_BYTES].view(torch.int32).view(MOST_BLOCKS, MOST_RANKS) for each in memory]
        turns = torch.zeros(MOST_BLOCKS, dtype=torch.int32, device=DEVICE)
        num_bytes = parts[0].nbytes
        num_blocks = -(-num_bytes // 4096)

        def add(x, turn):
            """What the others do in this turn, and then the sum in place."""
            for other in {*range(num_ranks)} - {rank}:
                place = memory[other][FLAG_BYTES + turn % 2 * PLACE_BYTES :][:num_bytes]  # noqa: B023
                place.copy_((parts[other] * turn).view(torch.uint8))  # noqa: B023
                flags[rank][:num_blocks, other] = turn  # noqa: B023
            rest = [None] * (MOST_RANKS - num_ranks)
            launch(x, x, *memory, *rest, turns, rank, num_ranks, num_bytes, DTYPES[dtype])  # noqa: B023
            return x

        for turn in (1, 2, 3):
            expected = sum((part * turn).float() for part in parts).to(dtype)
            assert torch.equal(add(parts[rank] * turn, turn), expected)
            assert turns.tolist() == [turn] * num_blocks + [0] * (MOST_BLOCKS - num_blocks)
            for each in flags:
                assert each[:, rank].tolist() == turns.tolist()
        flags[rank].fill_(PASSED)  # `PeerMemory.release`: nobody is waited for
        launch(*[parts[rank]] * 2, *memory, *[None] * 5, turns, rank, num_ranks, num_bytes, DTYPES[dtype])


def test_ranks_meet_that_have_counted_differently(tmp_path):
    """Would catch rank 0, which has had a group before, waiting for ever for ranks that have just begun."""
    stores = [_CountsAnew(dist.FileStore(str(tmp_path / "store"), 2)) for _ in range(2)]
    first, second = (dist.PrefixStore("", store) for store in stores)  # in C++, as PyTorch calls them
    for count in range(2):
        first.set(f"memory/{7 + count}/0", f"of the first, {count}")
        second.set(f"memory/{count}/1", f"of the second, {count}")
        first.wait([f"memory/{7 + count}/1"])
        assert first.get(f"memory/{7 + count}/1") == f"of the second, {count}".encode()
        assert second.get(f"memory/{count}/0") == f"of the first, {count}".encode()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: kernels that run at the same time")
def test_ranks_of_one_card_wait_for_each_other():
    """Would catch kernels that pass each other (a sum with a part of another turn), or never go on. Each rank has a
    stream of the same card, and replays a graph of three sums of two sizes."""
    launch = yaie.cuda.load(CSRC / "parallel/sum_over_ranks.cu").sum_over_ranks
    num_ranks, num_replays, sizes = 4, 50, (PLACE_BYTES // 8, 1000)  # 32 thread blocks of a rank, 1
    memory = [torch.zeros(FLAG_BYTES + 2 * PLACE_BYTES, dtype=torch.uint8, device="cuda") for _ in range(num_ranks)]
    memory += [None] * (MOST_RANKS - num_ranks)
    replays = []
    for rank in range(num_ranks):
        turns = torch.zeros(MOST_BLOCKS, dtype=torch.int32, device="cuda")
        xs = [torch.full((size // 4,), float(rank + 1), device="cuda") for size in sizes]
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            for x in (xs[0], xs[1], xs[0]):
                launch(x, x, *memory, turns, rank, num_ranks, x.nbytes, DTYPES[torch.float32])
            xs[0].mul_(1 / 16)  # four equal parts twice: as large as before
        replays.append((stream, graph, xs))
    for _ in range(num_replays):
        for stream, graph, _ in replays:
            with torch.cuda.stream(stream):
                graph.replay()
    done = [stream.record_event() for stream, *_ in replays]
    end = time.monotonic() + 20
    while not all(event.query() for event in done) and time.monotonic() < end:
        time.sleep(0.01)
    finished = all(event.query() for event in done)
    with torch.cuda.stream(torch.cuda.Stream()):  # whatever came of it: let them end
        for each in memory[:num_ranks]:
            each[:FLAG_BYTES].view(torch.int32).fill_(PASSED)
    torch.cuda.synchronize()
    assert finished, "kernels waited for each other for 20 s"
    for *_, (large, small) in replays:
        # 1 + 2 + 3 + 4 = 10 on each, then four times that, over 16: from 10 / 4 on it stays.
        assert torch.equal(large, torch.full_like(large, 2.5))
        assert torch.equal(small, torch.full_like(small, 10 * 4.0 ** (num_replays - 1)))
