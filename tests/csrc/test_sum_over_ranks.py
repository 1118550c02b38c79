"""The sum over ranks, launched as one of several ranks; what the others write has been written before."""

import pytest
import torch

import yaie.cuda
from yaie.kernels.ops.launching import CSRC, DTYPES
from yaie.parallel.peers import FLAG_BYTES, HEAD_BYTES, MOST_BLOCKS, MOST_RANKS, PLACE_BYTES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("dtype", DTYPES if DEVICE == "cuda" else [torch.float32, torch.float16], ids=str)
def test_a_sum_over_ranks(dtype):
    """Would catch a rank left out or added twice, places that do not take turns, a thread block that is not told or
    does not tell, an end that is not whole, and a rank that waits for a dead one."""
    launch = yaie.cuda.load(CSRC / "parallel/sum_over_ranks.cu").sum_over_ranks
    num_ranks, rank, count = 3, 1, 4 * 300 * (4 // dtype.itemsize)  # two thread blocks, the second one not full
    parts = [torch.randn(count).to(dtype).to(DEVICE) for _ in range(num_ranks)]
    memory = [torch.zeros(HEAD_BYTES + 2 * PLACE_BYTES, dtype=torch.uint8, device=DEVICE) for _ in parts]
    flags = [each[:FLAG_BYTES].view(torch.int32).view(MOST_BLOCKS, MOST_RANKS) for each in memory]
    rest, num_bytes, num_blocks = [None] * (MOST_RANKS - num_ranks), parts[0].nbytes, 2

    for turn in (1, 2, 3):
        for other in {*range(num_ranks)} - {rank}:
            place = memory[other][HEAD_BYTES + turn % 2 * PLACE_BYTES :][:num_bytes]
            place.copy_((parts[other] * turn).view(torch.uint8))
            flags[rank][:num_blocks, other] = turn
        x, expected = parts[rank] * turn, sum((part * turn).float() for part in parts).to(dtype)
        launch(x, x, *memory, *rest, rank, num_ranks, num_bytes, DTYPES[dtype])
        assert torch.equal(x, expected)
        for each in flags:  # everybody was told, by all thread blocks that ran
            assert each[:, rank].tolist() == [turn] * num_blocks + [0] * (MOST_BLOCKS - num_blocks)

    memory[rank][FLAG_BYTES:HEAD_BYTES] = 1  # `PeerMemory.stop`: of turn 4 the others told nothing
    launch(*[parts[rank]] * 2, *memory, *rest, rank, num_ranks, num_bytes, DTYPES[dtype])
