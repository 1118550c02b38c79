"""The rewriter: forms of CUDA C++ that it must read, and lines that must stay where they were."""

import re
from pathlib import Path

import pytest
import torch

import yaie.cuda
from yaie.cuda.emulated import build as builder
from yaie.cuda.emulated.rewrite import rewrite
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
    return rewrite(preprocessed.stdout, directory / "x.cu")


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


MEMBERS = r"""
struct Place {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
};
__global__ void places(int* x) {
  Place me;
  x[threadIdx.x] = 100 * me.warp + me.lane;
}
extern "C" int fill(int* x) {
  places<<<1, 64>>>(x);
  return cudaGetLastError();
}
"""


def test_members_may_begin_with_the_thread_s_place():
    """The paged kernels do it: rungs 3 to 5 did not compile when only functions were taken for device code."""
    x = torch.zeros(64, dtype=torch.int32)
    yaie.cuda.load(MEMBERS, backend="emulator").fill(x)
    assert x.tolist() == [*range(32), *range(100, 132)]
