"""The rewriter: forms of CUDA C++ that it must read, and lines that must stay where they were."""

import re
from pathlib import Path

import pytest
import torch

import yaie.cuda
from yaie.cuda.arguments import callable_launchers
from yaie.cuda.card import build as card
from yaie.cuda.emulated import build as builder
from yaie.cuda.emulated.rewrite import Rewriter
from yaie.cuda.launchers import find_launchers
from yaie.cuda.source import SourceError, lines_by_file, read_source

FORMS = r"""
#define BLOCK 32
#define LAUNCH(kernel, grid, ...) \
  kernel<<<grid, BLOCK>>>(__VA_ARGS__)
extern __shared__ float at_file_scope[];
namespace inner {
template <int A, class T = float, bool B = (A > 3)>
__global__ void scale(T* x) {  // a comment with <<< and __shared__ in it
  static __shared__ T one;
  __shared__ volatile T two[BLOCK], three[2][BLOCK / 2 + 1];
  volatile __shared__ int four[1];
  const char* text = "kernel<<<1, 2>>>(x); __shared__ int y[3];";
  if (threadIdx.x == 0) { one = T(A); four[0] = text[0] == 'k' ? B : '\''; }
  two[threadIdx.x] = x[threadIdx.x];
  three[threadIdx.x / 16][threadIdx.x % 16] = 1;
  __syncthreads();
  x[threadIdx.x] = two[threadIdx.x] * one * four[0] * three[threadIdx.x / 16][threadIdx.x % 16];
}
}  // namespace inner
__global__ void reversed(float* x) {
  at_file_scope[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = at_file_scope[blockDim.x - 1 - threadIdx.x];
}
__global__ void bytes(float* x) {
  extern __shared__ __align__(16) unsigned char raw[];
  float* values = reinterpret_cast<float*>(raw);
  alignas(8) __shared__ float2 pairs[BLOCK];
  values[threadIdx.x] = x[threadIdx.x];
  pairs[threadIdx.x] = make_float2(1.0f, 2.0f);
  __syncthreads();
  x[threadIdx.x] = values[threadIdx.x ^ 1] + pairs[threadIdx.x ^ 1].y;
}
template <class F>
void for_all(F f) { f(); }
extern "C" int forms(float* x, cudaStream_t stream) {
  dim3 gridDim(1), blockDim{BLOCK, 1, 1};
  inner::scale<(4 > 3 ? 5 : 0), float>
      <<<gridDim,
         blockDim>>>
      (x);
  LAUNCH(inner::scale<4>, 1, x);
  for_all([&] { reversed<<<dim3(1, 1), blockDim.x, BLOCK * sizeof(float), stream>>>(x); });
  bytes<<<1, BLOCK, BLOCK * 4>>>(x);
  return cudaGetLastError();
}
"""


@pytest.mark.parametrize("check", [True, False])
def test_forms(check):
    """Would catch a declaration or launch that is read wrongly, and text in strings or comments that is touched."""
    module = yaie.cuda.load(FORMS, backend="emulator", check=check)
    x = torch.randn(32)
    want = (x * 20).flip(0)[torch.arange(32) ^ 1] + 2
    module.forms(x)
    torch.testing.assert_close(x, want)


def rewritten(text: str, directory: Path) -> str:
    compiler = builder.find_compiler()
    command = [compiler, *builder.flags_for(compiler, True)]
    preprocessed = builder.preprocess(read_source(text, directory / "x.cu"), command, [], directory)
    return Rewriter(preprocessed, directory / "x.cu").run()


def test_lines_stay(tmp_path):
    """Would catch messages and findings that name a line too high or too low."""
    text = rewritten(FORMS, tmp_path)
    lines = lines_by_file(re.sub(r"^# (\d+) (\".*?\").*$", r"#line \1 \2", text, flags=re.M), tmp_path / "x.cu")
    old, new = FORMS.splitlines(), lines[str(tmp_path / "x.cu")]
    for word in ("__syncthreads();", "return cudaGetLastError();", "reinterpret_cast<float*>(raw)"):
        assert [i for i, line in enumerate(old) if word in line] == [i for i, line in enumerate(new) if word in line]


def test_launchers_are_found():
    """Would catch a launcher that is missed in a block, or a declaration that is taken for one."""
    source = """
    extern "C" int declared(float* x);
    extern "C" {
    int first(const float* __restrict__ x, int n) { if (n) { return 1; } return 0; }
    // int commented(float* x) {}
    void second() {}
    }
    extern "C" cudaError_t third(const unsigned int* x, float scale /* why */, cudaStream_t s) { return cudaSuccess; }
    """
    found = {
        f.name: [(p.name, p.type, p.pointer, p.const) for p in f.parameters] for f in find_launchers(source, Path("x"))
    }
    assert found == {
        "first": [("x", "float", True, True), ("n", "int", False, False)],
        "second": [],
        "third": [
            ("x", "unsigned int", True, True),
            ("scale", "float", False, False),
            ("s", "cudaStream_t", False, False),
        ],
    }


BY_THE_PREPROCESSOR = r"""
#include <cuda_runtime.h>
#define REAL float
#define SCALE(name, T) \
  __global__ void name##_kernel(const T* x, T* y, Scale s) { y[threadIdx.x] = x[threadIdx.x] * s.by; } \
  extern "C" int name(const T* x, T* y, Scale s) { name##_kernel<<<1, s.n>>>(x, y, s); return cudaGetLastError(); }
struct Scale {
  int n;
#ifdef DOUBLE_PRECISION
  double by;
#else
  REAL by;
#endif
};
SCALE(scale, REAL)
SCALE(scale_double, double)
#if 0
extern "C" int left_out(float* x) { no_such_kernel<<<1, 1>>>(x); return 0; }
#endif
#ifdef __cplusplus
extern "C" {
#endif
__attribute__((visibility("default"))) int shown(REAL* x) { return 0; }
auto trailing(REAL* x) noexcept -> int { return 0; }
#ifdef __cplusplus
}
#endif
"""


def test_launchers_are_those_of_the_preprocessed_text():
    """Would catch a launcher or struct that is looked for in the raw text. Kinds: a launcher by a macro, under #if 0,
    in a block that only C++ has, with attributes; a struct's field under #ifdef, and of a type that a macro names."""
    module = yaie.cuda.load(BY_THE_PREPROCESSOR, backend="emulator")
    assert list(module.launchers) == ["scale", "scale_double", "shown", "trailing"]
    assert [f.line for f in module.launchers.values()] == [15, 16, 23, 24]
    x, y = torch.randn(8), torch.zeros(8)
    module.scale(x, y, {"n": 8, "by": 3.0})
    torch.testing.assert_close(y, 3 * x)
    y = torch.zeros(8, dtype=torch.float64)
    module.scale_double(x.double(), y, {"n": 8, "by": 3.0})
    torch.testing.assert_close(y, 3 * x.double())


@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="nvcc is not installed")
def test_launchers_are_the_same_on_a_card(tmp_path):
    """Would catch a file that has other launchers where there is a card."""
    source = read_source(BY_THE_PREPROCESSOR)
    here = yaie.cuda.load(BY_THE_PREPROCESSOR, backend="emulator").launchers
    there = callable_launchers(source, card.preprocess(source, (), tmp_path))
    assert list(there) == list(here.values())


SPECIFIERS = {
    "__forceinline__ __device__ int f() { return 1; }": "inline",
    "inline __device__ __forceinline__ int f() { return 1; }": "inline",
    "__forceinline__ __device__ inline int f() { return 1; }": "inline",
    "__device__ __forceinline__ const __inline__ int f() { return 1; }": "__inline__",
    "__constant__ float f[2];": "static",
    "static const __constant__ float f[2] = {};": "static",
    "__constant__ const static float f[2] = {};": "static",
    "extern const __constant__ float f[2];": "extern",
}


@pytest.mark.parametrize("text", SPECIFIERS)
def test_specifiers_are_written_once(text, tmp_path):
    """Would catch a second `inline` or `static`, which g++ refuses, where the first stands further away, on any side.

    Kinds: none; before; after; with words between; another spelling of it; `extern`, which excludes `static`.
    """
    line = next(
        line for line in rewritten(text, tmp_path).splitlines() if re.search(r"\b(?:emu_const_)?f(\(\)|\[2\])", line)
    )
    line = line.partition("; [[maybe_unused]]")[0]  # the reference to a const array
    assert re.findall(r"\b(?:inline|__inline__|static|extern)\b", line) == [SPECIFIERS[text]]


def test_a_launch_keeps_the_name_as_written(tmp_path):
    """Would catch a finding in a kernel that nobody can find: its name with its template arguments is for people."""
    text = "template <class T, int n> __global__ void k(T*) {}\nvoid run(float* x) { ::k<float, 2><<<1, 1>>>(x); }"
    assert 'Launch("::k<float, 2>"' in rewritten(text, tmp_path)


def test_a_static_function_at_the_end_is_no_variable(tmp_path):
    """Would catch a file refused because its last device function is static, and only then: no semicolon follows."""
    text = "__device__ int f() { static int calls[2]; return ++calls[0]; }\nstatic __device__ int g() { return f(); }"
    done = rewritten(text, tmp_path)
    assert done.count("aligned(65536)") == 1
    assert "static  int g()" in done


CLOCKS = """
#include <ctime>
struct Watch { int at; __device__ int clock() const { return at; } };
__global__ void timed(int* out) {
  Watch watch{7}, *other = &watch;
  int start = clock();
  out[0] = watch.clock() + other->clock();
  out[1] = clock() - start;
}
extern "C" int run(int* out) { out[2] = clock() != clock_t(-1); timed<<<1, 1>>>(out); return 0; }
"""


def test_clocks_are_the_threads_in_device_code_only(tmp_path):
    """Would catch the host's clock in a kernel, which counts microseconds, and methods and host code renamed."""
    assert rewritten(CLOCKS, tmp_path).count("emu_clock32") == rewritten("", tmp_path).count("emu_clock32") + 2


UNREADABLE = {
    "void f() {\n k<<<1, 2(x); }": "x.cu:2: <<< without >>>",
    "__global__ void k() {}\nvoid f() { k<<<>>>(); }": "x.cu:2: a launch needs a grid and a block",
    "__global__ void k() {}\nvoid f() { k<<<1, 2>>>; }": "x.cu:2: the kernel's arguments must follow >>>",
    "void f() {\n\n <<<1, 2>>>(3); }": "x.cu:3: name the kernel directly before <<<",
    "__device__ void f() {\n __shared__ int x = 3; }": "x.cu:2: a __shared__ variable has no initial value",
    "void f() {\n if (1) {\n }": "x.cu:1: this { is never closed",
    "void f() {\n }\n}": "x.cu:3: this } closes nothing",
    "void f() {\n g((1, 2]);\n}": "x.cu:2: this ] closes nothing; the last one open is (",
}


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda t: t.split("\n")[-1].strip())
def test_unreadable_forms_say_what_and_where(text, tmp_path):
    """Would catch a construct that is passed on in pieces to the compiler."""
    with pytest.raises(SourceError, match=re.escape(UNREADABLE[text])):
        rewritten(text, tmp_path)


MEMBERS = """
struct Host { dim3 gridDim; int blockDim = 3; int twice() const { return 2 * int(gridDim.x); } };
template <int N>
struct Place { int lane = threadIdx.x % N, warp = threadIdx.x / N; };
__global__ void places(int* out) { Place<8> at; out[threadIdx.x] = 100 * at.warp + at.lane; }
extern "C" int run(int* out) { Host h{2}; places<<<h.gridDim.x - 1, 8 * h.twice()>>>(out); return h.blockDim - 3; }
"""


@pytest.mark.parametrize("check", [True, False])
def test_members_whose_initial_value_is_the_threads(check):
    """Would catch `threadIdx` unknown outside of functions, where csrc uses it, and members of the host renamed."""
    out = torch.zeros(32, dtype=torch.int32)
    yaie.cuda.load(MEMBERS, backend="emulator", check=check).run(out)
    assert out.tolist() == [100 * (i // 8) + i % 8 for i in range(32)]
