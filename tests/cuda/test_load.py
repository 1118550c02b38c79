"""load(): the way from a .cu file to a Python function, its argument checks and its errors."""

import pytest
import torch

import yaie.cuda

VECTOR_ADD = r"""
__global__ void add(const float* a, const float* b, float* c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) c[i] = a[i] + b[i];
}
extern "C" int vector_add(const float* a, const float* b, float* c, int n, cudaStream_t stream) {
  add<<<(n + 255) / 256, 256, 0, stream>>>(a, b, c, n);
  return cudaGetLastError();
}
"""


@pytest.fixture(scope="module")
def module():
    return yaie.cuda.load(VECTOR_ADD, backend="emulator")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("n", [1, 31, 32, 33, 1000, 4099])
def test_vector_add(check, n):
    """Would catch a guard, copy-in or copy-back that is wrong at odd sizes, in either mode."""
    module = yaie.cuda.load(VECTOR_ADD, backend="emulator", check=check)
    a, b, c = torch.randn(n), torch.randn(n), torch.zeros(n)
    module.vector_add(a, b, c, n)
    torch.testing.assert_close(c, a + b, rtol=0, atol=0)


def test_wrong_dtype_names_the_argument(module):
    """Would catch half bits read as float, silently."""
    a = torch.zeros(4)
    with pytest.raises(
        TypeError, match=r"vector_add: `b` is const float\*.*torch.float32, got torch.float16"
    ):
        module.vector_add(a, a.half(), a.clone(), 4)
