"""Estimated times: what each limit alone would take, what is counted in a few blocks, and what is refused."""

from dataclasses import replace

import pytest
import torch

import yaie.cuda
from yaie.cuda import KernelUsage, estimate
from yaie.cuda.card.build import registers_of
from yaie.cuda.emulated.library import sampled
from yaie.cuda.estimate import NotTried, Work

# A card of round numbers: 10 multiprocessors of 1 GHz, memory of 1 GB/s.
CARD = {
    "multiprocessors": 10,
    "clock": 1e9,
    "l2_bytes": 1e6,
    "memory_rate": 1e9,
    "l2_rate": 4e9,
    "partial_rate": 1e9,
    "atomic_seconds": 1e-6,
    "products_per_cycle": 0.5,
    "memory_latency": 8e-6,
    "l2_latency": 4e-6,
    "l1_latency": 1e-6,
    "shared_latency": 1e-6,
    "barrier_seconds": 1e-6,
    "loads_under_way": 2.0,
    "block_seconds": 1e-6,
    "launch_seconds": 5e-6,
    "sharpness": 4.0,
}
NOTHING = dict.fromkeys(
    ("loads", "stores", "atomics", "shared", "products", "shuffles", "rounds", "copies", "copy_rounds"), 0.0
)
IDLE = Work(
    *("idle", 40, 128, 2),
    **dict.fromkeys(("first_read", "first_written", "loaded", "missed", "again", "touched"), 0.0),
    **dict.fromkeys(
        ("written", "partial", "wavefronts", "shuffles", "products", "on_one_address", "queued", "barriers"), 0.0
    ),
    hopper=False,
    warp=NOTHING,
)


def test_each_limit_is_its_count_over_its_rate():
    """Would catch a limit that takes another's count or rate, or shares work among multiprocessors that have none."""

    def alone(limit, **counts):
        found = estimate.limits(replace(IDLE, **counts), CARD)
        assert [name for name, seconds in found.items() if seconds and name != "waiting"] == [limit]
        return found[limit]

    assert alone("reading memory", first_read=3e6, first_written=1e6) == pytest.approx(4e-3)
    assert alone("writing memory", first_read=1e6, first_written=2e6) == pytest.approx(3e-3)
    assert alone("tensor cores", products=1e6) == pytest.approx(1e6 / 10 / 0.5e9)
    assert alone("atomics on one address", on_one_address=500) == pytest.approx(5e-4)
    assert alone("shared memory and L1", wavefronts=1e6) == pytest.approx(1e6 / 10 / 1e9)
    assert alone("shared memory and L1", wavefronts=1e6, blocks=4) == pytest.approx(1e6 / 4 / 1e9)  # 6 have nothing
    assert alone("shared memory and L1", wavefronts=1e6, blocks=11) == pytest.approx(2e6 / 11 / 1e9)  # one has two
    for counts, seconds in (({}, 2e-3), ({"partial": 4e6}, 1e-3 + 4e-3), ({"missed": 4e6}, 3e-3)):
        found = estimate.limits(replace(IDLE, written=8e6, **counts), CARD)
        assert found["L2"] == pytest.approx(seconds)
        assert found["shared memory and L1"] == pytest.approx(8e6 / 128 / 10 / 1e9)


def test_waiting_is_a_wave_of_the_busiest_warp_for_each_wave():
    """Would catch waves that are not rounded up, and a load that always waits for memory."""

    def waits(**counts):
        work = replace(IDLE, **{"blocks": 20, **counts})
        return estimate.limits(work, CARD)["waiting"] * 1e6

    assert waits() == pytest.approx(1)  # 20 blocks are resident at a time
    assert waits(blocks=21) == pytest.approx(2)
    loads = {"warp": NOTHING | {"loads": 5.0, "rounds": 1.0}, "loaded": 8e3}
    assert waits(**loads) == pytest.approx(1 + 2.5)  # from L1, two at a time
    assert waits(**loads, missed=8e3) == pytest.approx(1 + 10)
    assert waits(**loads, missed=8e3, first_read=2e3) == pytest.approx(1 + 15)  # every second wait is for memory
    assert waits(**loads, missed=8e3, first_read=4e3) == pytest.approx(1 + 20)  # every wait
    met = NOTHING | {"loads": 5.0, "rounds": 5.0, "shared": 2.0, "shuffles": 1.0}
    assert waits(warp=met, loaded=8e3, barriers=3.0) == pytest.approx(1 + 5 + 4)  # shared memory has a limit of its own
    copies = {"loads": 5.0, "copies": 5.0, "copy_rounds": 1.5}
    assert waits(warp=NOTHING | copies, loaded=8e3) == pytest.approx(1 + 1.5)


def test_what_l2_has_lost_is_read_from_memory_again():
    """Would catch a row that is read twice and does not fit into L2, counted as read once; and one that many share."""
    rows = replace(IDLE, blocks=20, touched=1e5, first_read=2e6, again=5e6)
    assert estimate.from_memory(rows, CARD) == 7e6
    assert estimate.from_memory(replace(rows, touched=4e4, first_read=8e5), CARD) == 8e5  # 20 x 40 KB stay
    assert estimate.from_memory(replace(rows, first_read=1e5), CARD) == 1e5  # all read the same 100 KB


def test_limits_overlap():
    """Would catch a sum of limits, and one that hides all others."""
    assert estimate.together([8.0, 0.0], 4.0) == 8.0
    assert 8.0 < estimate.together([8.0, 4.0], 4.0) < estimate.together([8.0, 8.0], 4.0) < 16.0


SOURCE = r"""
#include <cuda_runtime.h>
#include <stdint.h>
#include <yaie_ptx.cuh>
struct alignas(16) Four { float at[4]; };
static __device__ Four twice(Four four) {
    for (int i = 0; i < 4; ++i) four.at[i] *= 2;
    return four;
}
// Block b moves the b-th 512 bytes.
__global__ void kernel(const Four* x, Four* y) {
    const int64_t block = blockIdx.x + int64_t(gridDim.x) * (blockIdx.y + gridDim.y * blockIdx.z);
    y[32 * block + threadIdx.x] = twice(x[32 * block + threadIdx.x]);
}
// A ring of two slots: a copy is waited for while the next is in flight, and the last alone.
__global__ void ring_kernel(const float* x, float* y) {
    __shared__ float slots[2][32];
    for (int n = 0; n < 5; ++n) {
        if (n < 4) yaie::cp_async_4(&slots[n % 2][threadIdx.x], &x[32 * n + threadIdx.x]);
        yaie::cp_async_commit();
        if (n > 0) {
            if (n < 4) yaie::cp_async_wait<1>();
            else yaie::cp_async_wait<0>();
            y[32 * (n - 1) + threadIdx.x] = slots[(n - 1) % 2][threadIdx.x];
        }
    }
}
extern "C" int ring(const float* x, float* y) {
    ring_kernel<<<1, 32>>>(x, y);
    return cudaGetLastError();
}
extern "C" int doubled(const void* x, void* y, int columns, int rows, int layers) {
    kernel<<<dim3(columns, rows, layers), 32>>>(static_cast<const Four*>(x), static_cast<Four*>(y));
    return cudaGetLastError();
}
"""


@pytest.fixture(scope="module")
def module():
    return yaie.cuda.load(SOURCE, backend="emulator")


def test_a_sample_of_blocks_is_spread_over_the_grid_and_counts_what_all_do(module):
    """Would catch a block that comes twice, a sample of one corner, results that a sample leaves, and structs that go
    into a function or come out of it uncounted."""
    x, y = torch.rand(5 * 4 * 3, 128), torch.zeros(5 * 4 * 3, 128)
    with sampled() as every:
        module.doubled(x, y, 5, 4, 3)
    (work,) = estimate.works_of(every.launches)
    assert every.launches[0]["counts"]["blocks"] == work.blocks == 60
    assert (work.first_read, work.first_written) == (x.nbytes, y.nbytes)
    assert (work.warp["loads"], work.warp["rounds"], work.warp["stores"]) == (1, 1, 1)
    assert not y.any()

    with sampled(event_budget=1) as few:
        module.doubled(x, y, 5, 4, 3)
    (same,) = estimate.works_of(few.launches)
    assert few.launches[0]["counts"]["blocks"] == 8
    assert (same.first_read, same.first_written, same.loaded) == (work.first_read, work.first_written, work.loaded)
    module.doubled(x, y, 5, 4, 3)
    assert torch.equal(y, 2 * x)


def test_a_sample_that_fails_leaves_the_last_profile(module):
    """Would catch a profile that shows the blocks of a sample, which was no call of anybody's."""
    module.doubled(torch.rand(60, 128), torch.zeros(60, 128), 5, 4, 3)
    moved = module.profile().bytes_moved
    with pytest.raises(yaie.cuda.KernelError):
        module.estimate("h100", "doubled", torch.rand(128), torch.zeros(128), 5, 4, 3)
    assert module.profile().bytes_moved == moved


def test_a_wait_for_copies_is_shorter_where_others_are_in_flight(module):
    """Would catch copies that are taken for loads into registers, of which a warp has few under way."""
    warp = module.profile("ring", torch.rand(128), torch.zeros(128)).works[0].warp
    assert (warp["loads"], warp["copies"], warp["rounds"]) == (4, 4, 0)
    assert warp["copy_rounds"] == 3 * 0.5 + 1


def test_an_estimate_names_the_limit_and_its_error_and_what_is_beyond(module, monkeypatch):
    """Would catch an estimate without its error, and one of a size that was never recorded that does not say so."""
    monkeypatch.setattr("yaie.cuda.module.usage", lambda *_: ())  # as where there is no nvcc
    x, y = torch.zeros(2, 1 << 22)
    large = module.estimate("h100", "doubled", x, y, 1 << 15, 1, 1)
    assert large.bound_by == "reading memory"
    assert large.outside == ()
    assert large.seconds == pytest.approx(2 * x.nbytes / 2.8e12, rel=0.3)
    assert f"mean error of {large.tested} tested kernels: {large.error:.0%}), bound by reading memory" in str(large)
    module.doubled(x, y, 1, 1, 1)
    small = module.estimate()  # of the call before
    assert small.seconds < large.seconds
    assert small == module.profile().estimate()
    assert "beyond what was tried: the recorded kernels took" in str(small)
    module.estimate("h100", "doubled", x, y, 1 << 15, 1, 1)
    assert module.profile().blocks == 1  # of that call, and not of the sample
    with pytest.raises(ValueError, match="launched no kernel"):
        estimate.estimate([])


def test_registers_are_those_of_the_instance_that_has_the_shared_memory():
    """Would catch a kernel of another name, and an instance that cannot be the one that ran."""
    usages = [
        KernelUsage(kernel, registers, 0, 0, shared, 0)
        for kernel, registers, shared in (
            ("k<float>", 40, 512),
            ("k<half>", 80, 512),
            ("k<double>", 99, 1024),
            ("kk", 9, 512),
        )
    ]
    assert registers_of("mine::k<T>", 512, usages) == 80
    assert registers_of("k<T>", 1024, usages) == 99
    assert registers_of("k<T>", 7, usages) == 99
    assert registers_of("other", 512, usages) == 0


def test_what_was_never_recorded_is_refused_by_name(module):
    with pytest.raises(NotTried, match="idle has atomics in shared memory at which lanes queue"):
        estimate.estimate([replace(IDLE, queued=7.0)])
    with pytest.raises(NotTried, match="idle has TMA, wgmma or mbarriers"):
        estimate.estimate([replace(IDLE, hopper=True)])
    with pytest.raises(ValueError, match="for 'h100', not for 'a100'"):
        module.estimate("a100", "doubled", torch.zeros(128), torch.zeros(128), 1, 1, 1)
    with pytest.raises(AttributeError, match="has no launcher halved"):
        module.estimate("h100", "halved")
