"""Figures from a profile: the counts in them are those of the profile, and they are the same on every run."""

import re
from dataclasses import dataclass

import pytest
import torch

import yaie.cuda
from yaie import plots
from yaie.course import REPOSITORY
from yaie.plots.memory import access_cost


@dataclass
class Step:
    addresses: list[int]
    bytes_per_lane: int = 4
    space: str = "global"
    operation: str = "load"
    array: str = "x"
    line: int = 7
    source: str = "y[i] = x[i];"
    lanes: tuple[int, ...] = tuple(range(32))


@pytest.fixture(scope="module")
def profiles():
    module = yaie.cuda.load(REPOSITORY / "csrc" / "memory" / "transpose.cu", backend="emulator")
    x, y = torch.zeros(64, 64), torch.zeros(64, 64)
    return {
        name: module.profile(f"transpose_{rung}", x, y, 64, 64)
        for name, rung in (("naive", "1_naive"), ("tiled", "2_tiled"), ("padded", "3_padded"))
    }


def test_figures_agree_with_the_counts_of_the_profile(profiles):
    """Would catch: a picture that counts sectors or turns in a way of its own."""
    for profile in profiles.values():
        counts = [f"{round(line.sectors / line.requests)} sectors" for line in profile.lines if line.sectors]
        turns = [line.wavefronts // line.requests for line in profile.lines if line.wavefronts]
        counts += [f"{n} turn{'s' * (n > 1)}" for n in turns]
        alt = plots.warp_trace(profile.trace).alt
        assert sorted(counts) == sorted(part.split(";")[0].split(", ")[-1] for part in alt.split("Line ")[1:])
    naive, tiled = profiles["naive"].trace, profiles["tiled"].trace
    assert "128 bytes wanted, 32 sectors of 32 = 1,024 bytes moved" in plots.warp_access(naive[1]).alt
    assert "32 threads of 32 write, 256 bytes apart." in plots.warp_access(naive[1]).alt
    assert "32-way bank conflict: the access takes 32 turns." in plots.warp_access(tiled[2]).alt


def test_bars_before_and_after(profiles):
    """Would catch: bytes that nobody asked for counted as used, and values that are not per request."""
    alt = plots.profile_bars(profiles).alt
    assert "naive: line 17, store: 131,072 bytes (used 16,384, moved along, unused 114,688)" in alt
    assert "padded: line 36, store: 16,384 bytes (used 16,384, moved along, unused 0)" in alt
    assert "naive: line 17, store: 32;" in plots.profile_bars(profiles, "sectors per request").alt
    turns = plots.profile_bars(profiles, "wavefronts per request").alt
    assert "tiled: line 36, load: 32; padded: line 30, store: 1; padded: line 36, load: 1." in turns


def test_trace_shows_who_shares_a_sector():
    """Would catch: neighbours in one sector drawn apart, or lanes that took no part drawn as if they had."""
    alt = plots.warp_trace([Step([8 * i for i in range(32)])]).alt
    assert "8 sectors; threads in sectors: 0-3 in 0, 4-7 in 1, 8-11 in 2, 12-15 in 3, 16-19 in 4" in alt
    half = Step([4 * i for i in range(0, 32, 2)], lanes=tuple(range(0, 32, 2)))
    assert "16 threads of 32 read, 8 bytes apart." in plots.warp_access(half).alt
    assert "threads in sectors: 0 in 0, 2 in 0, 4 in 0, 6 in 0, and so on, 30 in 3." in plots.warp_trace([half]).alt
    assert plots.warp_trace([half] * 5, most=2).alt.endswith("3 further steps not drawn.")


@pytest.mark.parametrize(
    ("stride", "bytes_per_lane", "words"),
    [
        (16, 16, "no bank conflict: the access takes 4 turns in 4 phases."),
        (8, 8, "no bank conflict: the access takes 2 turns in 2 phases."),
        (32, 16, "2-way bank conflict: the access takes 8 turns in 4 phases."),
        (0, 16, "no bank conflict: the access takes 4 turns in 4 phases."),
    ],
)
def test_wide_accesses_go_in_phases(stride, bytes_per_lane, words):
    """Would catch: a float4 in shared memory drawn as a conflict that the card does not have."""
    step = Step([stride * i for i in range(32)], bytes_per_lane, "shared", "store", "tile")
    assert words in plots.warp_access(step).alt


GATHER = """
template <class T> __device__ void gather(const T* x, const int* index, T* y) {
  __shared__ T tile[256];
  for (int i = threadIdx.x; i < 256; i += 32) tile[i] = x[i];
  __syncwarp();
  int i = index[threadIdx.x];
  if (i >= 0) {
    T from_global = x[i];
    T from_shared = tile[i];
    y[threadIdx.x] = from_global;
    y[32 + threadIdx.x] = from_shared;
  }
}
__global__ void gather_4(const float* x, const int* index, float* y) { gather(x, index, y); }
__global__ void gather_8(const float2* x, const int* index, float2* y) { gather(x, index, y); }
__global__ void gather_16(const float4* x, const int* index, float4* y) { gather(x, index, y); }
extern "C" int run_4(const float* x, const int* index, float* y) { gather_4<<<1, 32>>>(x, index, y); return 0; }
extern "C" int run_8(const float2* x, const int* index, float2* y) { gather_8<<<1, 32>>>(x, index, y); return 0; }
extern "C" int run_16(const float4* x, const int* index, float4* y) { gather_16<<<1, 32>>>(x, index, y); return 0; }
"""


@pytest.mark.parametrize("size", [4, 8, 16])
def test_costs_in_pictures_are_those_of_the_emulator(size):
    """Would catch: two ways to count sectors and turns, of which one is wrong for some pattern of addresses."""
    module = yaie.cuda.load(GATHER, backend="emulator")
    x, y = torch.zeros(256 * size // 4), torch.zeros(64 * size // 4)
    for most in (3, 40, 256):
        for _ in range(4):
            index = torch.randint(-most // 4, most, (32,), dtype=torch.int32).clamp_min(-1)
            index[5] = most - 1  # at least one thread takes part
            profile = module.profile(f"run_{size}", x, index, y)
            lines = {(line.space, line.line): line for line in profile.lines if line.operation == "load"}
            addresses = [i * size if i >= 0 else None for i in index.tolist()]
            sectors, turns = access_cost(addresses, size)
            assert lines["global", 8].sectors == sectors, index
            assert lines["shared", 9].wavefronts == sum(turns), index
            assert lines["shared", 9].most_ways == max(turns), index


def test_same_bytes_and_nothing_cut(profiles):
    """Would catch: addresses of this process in a picture, and marks outside of the canvas or over each other."""
    module = yaie.cuda.load(REPOSITORY / "csrc" / "memory" / "transpose.cu", backend="emulator")
    again = module.profile("transpose_1_naive", torch.ones(64, 64), torch.ones(64, 64), 64, 64)
    assert plots.warp_trace(again.trace).svg() == plots.warp_trace(profiles["naive"].trace).svg()
    hostile = Step(
        [10**12 + 4 * i for i in range(32)], array="<b>" * 90, line=10**9, source="日本語 " * 99, operation="atomic"
    )
    for figure in (
        plots.warp_trace([hostile, *profiles["tiled"].trace]),
        plots.warp_access(hostile),
        plots.profile_bars({"a name that goes on and on " * 9: profiles["naive"]}),
    ):
        assert figure.width <= 1000
        for i, box in enumerate(figure.boxes):
            assert 0 <= box.left <= box.right <= figure.width
            assert 0 <= box.top <= box.bottom <= figure.height
            for other in figure.boxes[i + 1 :]:
                apart = box.right <= other.left or other.right <= box.left
                apart |= box.bottom <= other.top or other.bottom <= box.top
                assert apart or "text" not in (box.kind, other.kind) or box.kind != other.kind


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: plots.warp_trace([]), "warp_trace: steps is empty"),
        (lambda p: plots.warp_trace(p["naive"].trace, most=0), "warp_trace: most is 0"),
        (lambda p: plots.profile_bars(p, "speed"), "value is 'speed'; expected one of 'bytes moved'"),
        (
            lambda p: plots.profile_bars({"naive": p["naive"]}, "wavefronts per request"),
            "no line of naive touches shared memory",
        ),
        (lambda p: plots.warp_access(Step([0] * 32, operation="prefetch")), "operation is 'prefetch'"),
    ],
)
def test_bad_input_is_named(profiles, call, message):
    """Would catch: an error from deep inside the drawing that says nothing about the argument."""
    with pytest.raises(ValueError, match=message):
        call(profiles)


def test_what_an_instruction_costs_stands_beside_it():
    """Would catch: the cost of one row drawn beside another, and a box as wide as its threads and the next."""
    figure = plots.warp_trace(
        [Step([8 * i for i in range(32)]), Step([128 * i for i in range(16)], lanes=tuple(range(0, 32, 2)))]
    )
    svg = figure.svg()
    heads, costs = (
        [int(y) for y in re.findall(rf'y="(\d+)"[^>]*>{words}</text>', svg)]
        for words in ("global load of x", r"\d+ sectors")
    )
    assert len(heads) == len(costs) == 2
    assert all(abs(head - cost) < 15 for head, cost in zip(heads, costs, strict=True))
    boxes = [box for box in figure.boxes if box.kind == "rect"]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.top == b.top and a.right >= b.left]
