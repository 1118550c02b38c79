"""The emulator on 64-bit Arm: cross-compiled, and run under qemu. Skipped where the compiler or qemu is missing.

Python and torch stay outside: a small program loads the runtime and the kernels as `yaie.cuda` does.
"""

import json
import os
import platform
import shutil
import subprocess

import pytest

from yaie.cuda.emulated import build
from yaie.cuda.source import read_source

CROSS, QEMU = "aarch64-linux-gnu-g++", "qemu-aarch64"
pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not (shutil.which(CROSS) and shutil.which(QEMU)),
    reason=f"needs {CROSS} and {QEMU} (Debian: apt install g++-aarch64-linux-gnu qemu-user)",
)

# Every launcher takes (const float* x, float* y, int n): x[i] = i, y is filled with -1.
KERNELS = r"""
#include <cuda_runtime.h>
__global__ void twice(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = 2.0f * x[i];
}
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float tile[64];
  int i = blockIdx.x * 64 + threadIdx.x;
  tile[threadIdx.x] = x[i];
  __syncthreads();
  y[i] = tile[63 - threadIdx.x];
}
__global__ void racy(const float* x, float* y, int n) {
  __shared__ float tile[64];
  int i = blockIdx.x * 64 + threadIdx.x;
  tile[threadIdx.x] = x[i];
  y[i] = tile[63 - threadIdx.x];
}
__global__ void warp_sums(const float* x, float* y, int n) {
  float sum = x[threadIdx.x];
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  y[threadIdx.x] = sum;
}
__global__ void beyond(const float* x, float* y, int n) { y[threadIdx.x] = x[threadIdx.x + 1]; }
__global__ void one_sided(const float* x, float* y, int n) {
  if (threadIdx.x < 40) __syncthreads();
  y[threadIdx.x] = x[threadIdx.x];
}
__global__ void endless(const float* x, float* y, int n) {
  while (x[0] < 1.0f) {}
  y[0] = 1.0f;
}
extern "C" int run_twice(const float* x, float* y, int n) { twice<<<4, 64>>>(x, y, n); return 0; }
extern "C" int run_reverse(const float* x, float* y, int n) { reverse<<<4, 64>>>(x, y, n); return 0; }
extern "C" int run_racy(const float* x, float* y, int n) { racy<<<1, 64>>>(x, y, n); return 0; }
extern "C" int run_warp_sums(const float* x, float* y, int n) { warp_sums<<<1, 64>>>(x, y, n); return 0; }
extern "C" int run_beyond(const float* x, float* y, int n) { beyond<<<1, 256>>>(x, y, n); return 0; }
extern "C" int run_one_sided(const float* x, float* y, int n) { one_sided<<<1, 64>>>(x, y, n); return 0; }
extern "C" int run_endless(const float* x, float* y, int n) { endless<<<1, 64>>>(x, y, n); return 0; }
"""
DRIVER = r"""
#include <dlfcn.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
template <class F> F* find(void* library, const char* name) {
  void* found = dlsym(library, name);
  if (!found) { fprintf(stderr, "no %s\n", name); exit(2); }
  return reinterpret_cast<F*>(found);
}
void* open_library(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!library) { fprintf(stderr, "%s\n", dlerror()); exit(2); }
  return library;
}
int main(int, char** argv) {
  void *runtime = open_library(argv[1]), *kernels = open_library(argv[2]);
  const unsigned checks = atoi(argv[4]);
  const size_t n = 256, bytes = n * sizeof(float);
  typedef unsigned U;
  auto* begin = find<void(U, U, double, double, U, U, U, U)>(runtime, "emu_begin");
  auto* alloc = find<void*(size_t, size_t)>(runtime, "emu_guarded_alloc");
  auto* note = find<void(void*, size_t, const char*, unsigned, bool)>(runtime, "emu_register");
  auto* call = find<bool(void*, void**, int*)>(runtime, "emu_call");
  auto* report = find<const char*()>(runtime, "emu_report");
  begin(checks, 2, 2.0, 4e7, 0, 0, 0, 0);
  float *x = static_cast<float*>(alloc(bytes, 256)), *y = static_cast<float*>(alloc(bytes, 256));
  for (size_t i = 0; i < n; ++i) x[i] = float(i), y[i] = -1.0f;
  note(x, bytes, "x", 4, true);
  note(y, bytes, "y", 4, false);
  int count = int(n), error = 0;
  void* cells[] = {&x, &y, &count};
  call(dlsym(kernels, (std::string("emu_call_") + argv[3]).c_str()), cells, &error);
  printf("%s\n", report());
  for (size_t i = 0; i < n; ++i) printf("%g ", y[i]);
  printf("\n");
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Path of the runtime and of the program that calls launchers."""
    folder = tmp_path_factory.mktemp("aarch64")
    (folder / "driver.cpp").write_text("#include <string>\n" + DRIVER)
    command = [CROSS, "-std=c++17", "-O1", "driver.cpp", "-o", "driver", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return build.build_runtime(CROSS), folder / "driver"


def run(driver, launcher, check):
    runtime, program = driver
    library = build.build_for_emulator(read_source(KERNELS), CROSS, check).path
    environment = {**os.environ, "QEMU_LD_PREFIX": "/usr/aarch64-linux-gnu"}
    command = [QEMU, str(program), str(runtime), str(library), launcher, "7" if check else "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    report, numbers = done.stdout.splitlines()
    return json.loads(report), [float(number) for number in numbers.split()]


RIGHT = {
    "run_twice": [2.0 * i for i in range(256)],
    "run_reverse": [float(i // 64 * 64 + 63 - i % 64) for i in range(256)],
    "run_warp_sums": [496.0] * 32 + [1520.0] * 32 + [-1.0] * 192,
}


@pytest.mark.parametrize("check", [False, True], ids=["fast", "check"])
@pytest.mark.parametrize("launcher", RIGHT)
def test_right_kernels(driver, launcher, check):
    """Would catch a switch of fibers that loses a register of this processor, and a lane that gets another's value."""
    report, y = run(driver, launcher, check)
    assert report["findings"] == []
    assert y == RIGHT[launcher]


@pytest.mark.parametrize(
    ("launcher", "kind"),
    [
        ("run_racy", "race"),
        ("run_beyond", "out_of_bounds"),
        ("run_one_sided", "exit_before_barrier"),
        ("run_endless", "endless_loop"),
    ],
)
def test_wrong_kernels(driver, launcher, kind):
    """Would catch checks that only work with the instructions and signals of x86-64."""
    report, _ = run(driver, launcher, True)
    assert kind in {finding["kind"] for finding in report["findings"]}


def test_counts(driver):
    """Would catch counters that depend on how this compiler writes an access."""
    report, _ = run(driver, "run_twice", True)
    counted = {(c["access"], c["requests"], c["sectors"]) for c in report["counters"]}
    assert counted == {(0, 8, 32), (1, 8, 32)}
