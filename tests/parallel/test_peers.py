"""Sums through the memory of other GPUs: the kernel as one of several ranks whose peers have written already, and the
store by which ranks meet."""

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
