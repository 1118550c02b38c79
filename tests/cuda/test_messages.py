"""What findings say: the cause that would help, and no other.

Kinds: a wrong index or a missing barrier is not fixed by an atomic; a launch without its third argument is no missing
guard; a negative index has nothing to do with dynamic shared memory; the index of an element in a matrix.
"""

import pytest
import torch

import yaie.cuda

SOURCE = r"""
__global__ void minus_one_kernel(float* y) {
  __shared__ float tile[32];
  tile[threadIdx.x] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = tile[(int)threadIdx.x - 1];
}
extern "C" int minus_one(float* y) { minus_one_kernel<<<1, 32>>>(y); return 0; }

__global__ void second_kernel(float* y) {
  __shared__ float first[32], second[32];
  first[threadIdx.x] = second[threadIdx.x] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = first[threadIdx.x] + second[(int)threadIdx.x - 1];
}
extern "C" int minus_one_of_the_second(float* y) { second_kernel<<<1, 32>>>(y); return 0; }

__global__ void dynamic_kernel(float* y) {
  extern __shared__ float smem[];
  smem[threadIdx.x] = 1.0f;
  y[threadIdx.x] = smem[threadIdx.x];
}
extern "C" int no_third_argument(float* y) { dynamic_kernel<<<1, 32>>>(y); return 0; }
extern "C" int elements_for_bytes(float* y) { dynamic_kernel<<<1, 32, 32>>>(y); return 0; }

__global__ void update_kernel(float* y) { y[0] += 1.0f; }
extern "C" int update(float* y) { update_kernel<<<2, 32>>>(y); return 0; }

__global__ void two_lines_kernel(float* y) {
  float old = y[0];
  y[0] = old + threadIdx.x;
}
extern "C" int update_in_two_lines(float* y) { two_lines_kernel<<<1, 64>>>(y); return 0; }

__global__ void wrong_index_kernel(float* y) { y[threadIdx.x / 2] = threadIdx.x; }
extern "C" int wrong_index(float* y) { wrong_index_kernel<<<1, 32>>>(y); return 0; }

__global__ void no_block_kernel(float* y) { y[threadIdx.x] = blockIdx.x + threadIdx.x; }
extern "C" int index_without_block(float* y) { no_block_kernel<<<2, 32>>>(y); return 0; }

__global__ void tree_kernel(float* y) {
  __shared__ float part[64];
  part[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  for (int half = 32; half; half /= 2)
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
  if (threadIdx.x == 0) y[0] = part[0];
}
extern "C" int tree_without_barrier(float* y) { tree_kernel<<<1, 64>>>(y); return 0; }

__global__ void matrix_kernel(float* y, int element) { y[element] = threadIdx.x; }
extern "C" int same_element(float* y, int element) { matrix_kernel<<<1, 2>>>(y, element); return 0; }

__global__ void trips_kernel(float* y) {
  for (int i = threadIdx.x; i < 100; i += 64) { y[i] = 1.0f; __syncthreads(); }
}
extern "C" int different_trips(float* y) { trips_kernel<<<1, 64>>>(y); return 0; }

__global__ void copy_kernel(const float* x, float* y, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = x[i];
}
extern "C" int copy(const float* x, float* y, int n) { copy_kernel<<<64, 64>>>(x, y, n); return 0; }
"""


@pytest.fixture(scope="module")
def module() -> yaie.cuda.Module:
    return yaie.cuda.load(SOURCE, backend="emulator", check=True)


def findings(module: yaie.cuda.Module, launcher: str, *args) -> list[yaie.cuda.Finding]:
    with pytest.raises(yaie.cuda.KernelError) as caught:
        getattr(module, launcher)(*(args or (torch.zeros(128),)))
    return caught.value.findings


@pytest.mark.parametrize(("launcher", "array"), [("minus_one", "tile"), ("minus_one_of_the_second", "second")])
def test_an_index_of_minus_one_is_negative(module, launcher, array):
    """Would catch words about dynamic shared memory, or about the array that lies before."""
    (finding,) = findings(module, launcher)
    assert (finding.array, finding.element) == (array, -1)
    assert "negative" in finding.cause
    assert "dynamic" not in finding.text


def test_a_third_argument_that_is_missing_or_counts_elements_is_named(module):
    """Would catch advice about a guard where the launch is wrong."""
    (missing,) = findings(module, "no_third_argument")
    assert "third argument" in missing.cause
    assert "guard" not in missing.text
    (short,) = findings(module, "elements_for_bytes")
    assert "bytes" in short.cause
    assert "guard" not in short.text


@pytest.mark.parametrize("launcher", ["update", "update_in_two_lines"])
def test_an_atomic_is_advised_for_an_update(module, launcher):
    """Would catch a lost update that nobody is told how to fix."""
    assert all("use an atomic" in f.cause for f in findings(module, launcher))


@pytest.mark.parametrize("launcher", ["wrong_index", "index_without_block", "tree_without_barrier"])
def test_no_atomic_is_advised_where_it_would_not_help(module, launcher):
    """Would catch advice that hides a wrong index or a missing barrier."""
    assert all("atomic" not in f.cause for f in findings(module, launcher))


def test_a_loop_that_threads_leave_at_different_times_is_no_early_return(module):
    """Would catch advice about a return that is not there."""
    (finding,) = findings(module, "different_trips")
    assert "loop" in finding.cause
    assert "return" not in finding.cause


def test_an_element_of_a_matrix_has_its_index_and_one_past_it_has_none(module):
    """Would catch an index that is made up for an element which the matrix does not have."""
    inside = findings(module, "same_element", torch.zeros(4, 8), 29)[0]
    assert (inside.element, inside.index) == (29, (3, 5))
    past = findings(module, "same_element", torch.zeros(4, 8), 33)[0]
    assert (past.element, past.index) == (33, None)
    assert "has 32 elements; element 33 is past its end" in past.text


def test_a_sample_of_the_blocks_is_said_in_one_line():
    """Would catch a launch whose blocks were not all checked without a word."""
    sampled = yaie.cuda.load(SOURCE, backend="emulator", check=True, event_budget=100)
    sampled.copy(torch.zeros(20000), torch.zeros(20000), 20000)
    (remark,) = sampled.remarks
    assert "of 64 blocks were checked for races" in remark
    whole = yaie.cuda.load(SOURCE, backend="emulator", check=True)
    whole.copy(torch.zeros(20000), torch.zeros(20000), 20000)
    assert whole.remarks == []


ARRAYS = """
__device__ float kept[4];
__global__ void use(const float* x, float* y, int which) {
  __shared__ float tile[5];
  extern __shared__ float some[];
  if (which == 0) kept[which + 4] = 1;
  if (which == 1) y[1] = threadIdx.x;
  if (which == 2) tile[1] = threadIdx.x;
  if (which == 3) *y = tile[7];
  if (which == 4) *y = some[7];
  if (which == 5) *y = x[7];
}
extern "C" int run(const float* x, float* y, int which) {
  use<<<1, which < 3 ? 2 : 1, 6 * 4>>>(x, y, which);
  return 0;
}
"""
KINDS_OF_ARRAYS = [
    "array `kept` has 4 elements; element 4 is past its end",
    "tensor `y`, element 1 of 2",
    "shared array `tile`, element 1 of 5",
    "shared array `tile` has 5 elements; element 7 is past its end",
    "dynamic shared memory `some` has 6 elements; element 7 is past its end",
    "tensor `x` has 3 elements; element 7 is past its end",
]


def test_a_finding_says_what_kind_of_array_it_was():
    """Would catch a variable that is called a tensor: whoever looks for it among the arguments does not find it."""
    module = yaie.cuda.load(ARRAYS, backend="emulator")
    for which, words in enumerate(KINDS_OF_ARRAYS):
        with pytest.raises(yaie.cuda.KernelError) as caught:
            module.run(torch.zeros(3), torch.zeros(2), which)
        assert any(line.strip().startswith(words) for line in str(caught.value).splitlines()), caught.value


COPIES = """
#include <yaie_hopper.cuh>
__global__ void wait_for_copies(const float* x) {
  __shared__ __align__(16) float tile[128];
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    yaie::mbarrier_init(&full, 2);
    yaie::fence_mbarrier_init();
  }
  __syncthreads();
  yaie::cp_async_16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x);
  yaie::mbarrier_expect_cp_async(&full);
  if (threadIdx.x == 0) yaie::mbarrier_arrive(&full);
  yaie::mbarrier_wait(&full, 0);
}
extern "C" int run(const float* x) {
  wait_for_copies<<<1, 32>>>(x);
  return 0;
}
"""


def test_copies_that_a_phase_waits_for_are_no_arrivals():
    """Would catch "4294967265 of 2 arrivals": the copies of 32 threads were taken off."""
    with pytest.raises(yaie.cuda.KernelError) as caught:
        yaie.cuda.load(COPIES, backend="emulator").run(torch.zeros(128))
    assert "has 1 of 2 arrivals" in str(caught.value)


def test_a_deadlock_shows_both_places_and_first_that_of_the_file_itself(tmp_path):
    """Would catch "line 8" of nobody knows which file, and a line of a header that is told without its code."""
    (tmp_path / "sums.cuh").write_text("""
__device__ float warp_sum(float value) {
  for (int far = 16; far; far /= 2) value += __shfl_xor_sync(0xffffffffu, value, far);
  return value;
}
""")
    (tmp_path / "kernel.cu").write_text("""#include "sums.cuh"
__global__ void k(float* y) {
  if (threadIdx.x == 0) y[0] = warp_sum(y[0]);
  __syncthreads();
}
extern "C" int launch(float* y) { k<<<1, 32>>>(y); return cudaGetLastError(); }
""")
    (found,) = findings(yaie.cuda.load(tmp_path / "kernel.cu", backend="emulator"), "launch")
    assert (found.kind, found.thread, found.other_thread) == ("deadlock", (1, 0, 0), (0, 0, 0))
    shown = [line.strip() for line in found.text.split("\n")]
    assert shown[1:4] == [
        "kernel.cu:4: __syncthreads();",
        "and thread (0,0,0) waits, too",
        "sums.cuh:3: for (int far = 16; far; far /= 2) value += __shfl_xor_sync(0xffffffffu, value, far);",
    ]
