"""How launchers of a card are called, with a C function in the place of one: no GPU is needed to pass arguments."""

import contextlib
import ctypes
import subprocess

import pytest
import torch

import yaie.cuda
from yaie.cuda.build import Source
from yaie.cuda.module import CardLibrary, Module
from yaie.cuda.rewrite import find_launchers

TEXT = """
#include <stdint.h>
typedef void* cudaStream_t;
extern "C" int record(const float* x, void* y, const int64_t* ids, int n, int64_t big, uint32_t u, float f, double d,
                      bool b, cudaStream_t stream) {
    const double values[] = {x ? x[0] : -1.0, ids ? double(ids[0]) : -1.0, double(n), double(big), double(u), f, d,
                             b ? 1.0 : 0.0, double(reinterpret_cast<intptr_t>(stream))};
    for (int i = 0; i < 9; ++i) {
        static_cast<double*>(y)[i] = values[i];
    }
    return n == 13 ? 7 : 0;
}
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The launcher as `yaie.cuda.load(..., backend="cuda")` would give it, for tensors of the CPU."""
    folder = tmp_path_factory.mktemp("card")
    source = Source(folder / "record.cu", TEXT)
    (folder / "record.cpp").write_text(TEXT)
    command = [yaie.cuda.find_compiler(), "-shared", "-fPIC", "-o", folder / "record.so", folder / "record.cpp"]
    subprocess.run(list(map(str, command)), check=True)

    class Card(CardLibrary):
        device_type = "cpu"

        def __init__(self):
            self.source, self.library = source, ctypes.CDLL(str(folder / "record.so"))
            self.launchers = tuple(find_launchers(TEXT, source.path))

        _on = staticmethod(lambda device: contextlib.nullcontext())
        _stream = staticmethod(lambda stream: 99 if stream is None else stream)
        _error_name = staticmethod(lambda error: f"CUDA error {error}")

    module = Module.__new__(Module)
    module.source, module.backend, module._card = source, "cuda", Card()
    return module._function(module._card.launchers[0])


def test_every_argument_arrives(record):
    """Would catch an argument of the wrong width or in the wrong register: garbage that no kernel could notice."""
    x, y, ids = torch.tensor([2.5]), torch.zeros(9, dtype=torch.float64), torch.tensor([2**40])
    record(x, y, ids, -3, -(2**40), 2**32 - 1, 0.5, 0.25, True, 7)
    expected = [2.5, 2.0**40, -3, -(2.0**40), 2.0**32 - 1, 0.5, 0.25, 1, 7]
    assert y.tolist() == expected
    y.zero_()
    record(x, y, ids, -3, -(2**40), 2**32 - 1, 0.5, 0.25, True)
    assert y.tolist() == [*expected[:-1], 99], "the stream that is left out is the current one"
    y.zero_()
    record(x, y, ids=ids, n=-3, big=-(2**40), u=2**32 - 1, f=0.5, d=0.25, b=True, stream=7)
    assert y.tolist() == expected
    record(None, y, None, 1, 2, 3, 4, 5, False)
    assert y.tolist()[:2] == [-1, -1]


def test_what_does_not_fit_is_refused(record):
    """Would catch a number that is cut off and a tensor that is read as something else, both without a word."""
    x, y = torch.tensor([2.5]), torch.zeros(9, dtype=torch.float64)
    rest = (2, 3, 4.0, 5.0, True)
    with pytest.raises(TypeError, match=r"`x` is const float\*, so it must be torch.float32, got torch.float64"):
        record(x.double(), y, None, 1, *rest)
    with pytest.raises(ValueError, match="`x` must be contiguous"):
        record(torch.zeros(4)[::2], y, None, 1, *rest)
    with pytest.raises(ValueError, match="`x` must be on cpu, is on meta"):
        record(x.to("meta"), y, None, 1, *rest)
    with pytest.raises(TypeError, match="`x` must be a tensor"):
        record([2.5], y, None, 1, *rest)
    with pytest.raises(ValueError, match="`n` = 2147483648 does not fit int"):
        record(x, y, None, 2**31, *rest)
    with pytest.raises(TypeError, match="`n` must be an integer"):
        record(x, y, None, 1.5, *rest)
    with pytest.raises(TypeError, match="missing a required argument"):
        record(x, y)
    assert not y.any()


def test_an_error_of_a_launch_is_raised(record):
    """Would catch a launch that failed unnoticed: the numbers would be those of an earlier one."""
    y = torch.zeros(9, dtype=torch.float64)
    with pytest.raises(yaie.cuda.KernelError, match=r"record .* returned CUDA error 7"):
        record(None, y, None, 13, 2, 3, 4.0, 5.0, True)
