"""What a launcher takes, in every way of calling one: in the emulator, built on first use, built ahead of time.

Where there is no GPU, the two ways on a card end in a C function that g++ built instead of nvcc; all before it is real.
"""

import ctypes
import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

import yaie.cuda
from yaie.cuda.arguments import Rules, callable_launchers
from yaie.cuda.card import library, prebuilt
from yaie.cuda.launchers import find_launchers
from yaie.cuda.source import read_source

HEADER = "#pragma once\n#include <stdint.h>\nstruct Shape { int32_t rows, columns; bool causal; double scale; };\n"
TEXT = """
#include <cuda_runtime.h>
#include <stdint.h>
#include "shape.cuh"
__global__ void record_kernel(const float* x, double* y, const int64_t* ids, int n, int64_t big, uint32_t u, float f,
                              double d, bool b, Shape shape, double stream) {
    const double values[] = {x ? x[0] : -1.0, ids ? double(ids[0]) : -1.0, double(n), double(big), double(u), f, d,
                             b ? 1.0 : 0.0, double(shape.rows), double(shape.columns), shape.causal ? 1.0 : 0.0,
                             shape.scale, stream};
    for (int i = 0; i < 13; ++i) {
        y[i] = values[i];
    }
}
extern "C" int record(const float* x, void* y, const int64_t* ids, int n, int64_t big, uint32_t u, float f, double d,
                      bool b, const Shape shape, cudaStream_t stream) {
    record_kernel<<<1, 1, 0, stream>>>(x, static_cast<double*>(y), ids, n, big, u, f, d, b, shape,
                                       double(reinterpret_cast<intptr_t>(stream)));
    return n == 13 ? 7 : 0;
}
"""
STAND_IN = "#define __global__\ntypedef void* cudaStream_t;\n" + TEXT.replace(
    "#include <cuda_runtime.h>\n", ""
).replace("<<<1, 1, 0, stream>>>", "")
THE_CURRENT_STREAM = 99


class StandIn(library.CardLibrary):
    """A card whose memory is the CPU's. Everything that a launch asks it is a function of C, as on a card."""

    device_type = "cpu"
    current_device = staticmethod(lambda: [].clear)  # None, the index of the device "cpu"
    current_stream = staticmethod(lambda: {None: THE_CURRENT_STREAM}.get)
    error_name = staticmethod(lambda error: f"CUDA error {error}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of kernels, and beside them a library that stands for what nvcc would build from them."""
    folder = tmp_path_factory.mktemp("csrc") / "family"
    folder.mkdir()
    (folder / "shape.cuh").write_text(HEADER)
    (folder / "record.cu").write_text(TEXT)
    (folder / "record.cpp").write_text(STAND_IN)
    command = [yaie.cuda.find_compiler(), "-shared", "-fPIC", "-o", folder / "record.so", folder / "record.cpp"]
    subprocess.run(list(map(str, command)), check=True)
    return folder


@pytest.fixture(scope="module", params=["emulator", "first use", "ahead of time", "GPU"])
def way(request, folder):
    """The module as `yaie.cuda.load` gives it, and the kind of device that its tensors are on."""
    if request.param == "emulator":
        return yaie.cuda.load(folder / "record.cu", backend="emulator"), "cpu"
    if request.param == "GPU":
        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
        return yaie.cuda.load(folder / "record.cu", backend="cuda"), "cuda"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yaie.cuda.module.CardLibrary", StandIn)
        if request.param == "first use":
            patch.setattr(prebuilt, "find_prebuilt", lambda: None)
            launchers = callable_launchers(read_source(folder / "record.cu"), TEXT)
            patch.setattr(library, "build_for_card", lambda *arguments: (folder / "record.so", launchers))
        else:
            address = ctypes.cast(ctypes.CDLL(str(folder / "record.so")).record, ctypes.c_void_p).value
            fingerprint = read_source(folder / "record.cu").fingerprint()
            kernels = SimpleNamespace(
                SOURCES={"family/record.cu": fingerprint}, LAUNCHERS={"record": address}, ARCHITECTURES="9.0a"
            )
            patch.setattr(prebuilt, "find_prebuilt", lambda: kernels)
            patch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
            patch.setattr(library, "build_for_card", lambda *arguments: pytest.fail("it was built"))
        return yaie.cuda.load(folder / "record.cu", backend="cuda"), "cpu"


def right(device):
    """Arguments that fit, by name, and what the launcher then writes down."""
    arguments = {
        "x": torch.tensor([2.5], device=device),
        "y": torch.zeros(13, dtype=torch.float64, device=device),
        "ids": torch.tensor([2**40], device=device),
        **{"n": -3, "big": -(2**40), "u": 2**32 - 1, "f": 0.5, "d": 0.25, "b": True},
        "shape": {"rows": 3, "columns": -4, "causal": True, "scale": 0.125},
    }
    return arguments, [2.5, 2.0**40, -3, -(2.0**40), 2.0**32 - 1, 0.5, 0.25, 1, 3, -4, 1, 0.125]


class Named(NamedTuple):
    rows: int
    columns: int
    causal: bool
    scale: float


@dataclasses.dataclass
class Data:
    scale: float
    causal: bool
    rows: int
    columns: int


GOOD = [
    ({}, {}),
    ({"x": None, "ids": None}, {0: -1, 1: -1}),
    ({"n": 2**31 - 1, "u": 0}, {2: 2**31 - 1, 4: 0}),
    ({"n": np.int64(5), "f": np.float64(0.75)}, {2: 5, 5: 0.75}),
    ({"n": True, "d": 3}, {2: 1, 6: 3}),
    ({"n": torch.tensor(9)}, {2: 9}),
    ({"b": False, "f": float("inf")}, {7: 0, 5: float("inf")}),
    ({"b": 0}, {7: 0}),
    ({"b": np.bool_(False)}, {7: 0}),
    ({"b": torch.tensor(False)}, {7: 0}),
    ({"shape": Named(1, 2, False, 3.0)}, {8: 1, 9: 2, 10: 0, 11: 3}),
    ({"shape": Data(scale=3.0, causal=False, rows=1, columns=2)}, {8: 1, 9: 2, 10: 0, 11: 3}),
    ({"shape": {"scale": 3, "causal": 1, "rows": np.int32(1), "columns": 2}}, {8: 1, 9: 2, 10: 1, 11: 3}),
]
SHAPE = {"rows": 3, "columns": -4, "causal": True, "scale": 0.125}
BAD = [
    ({"x": [2.5]}, TypeError, r"`x` must be a tensor \(const float\*\), got list"),
    ({"x": 4096}, TypeError, r"`x` must be a tensor \(const float\*\), got int"),
    ({"x": lambda d: torch.zeros(1, dtype=torch.float64, device=d)}, TypeError, "`x` is const float.*torch.float64"),
    ({"ids": lambda d: torch.zeros(1, dtype=torch.int32, device=d)}, TypeError, "`ids` is const int64_t.*torch.int32"),
    ({"x": lambda d: torch.zeros(4, device=d)[::2]}, ValueError, r"`x` must be contiguous, .* strides \[2\]"),
    ({"x": torch.zeros(1, device="meta")}, ValueError, "`x` must be on c.*, is on meta"),
    ({"ids": torch.zeros(1, dtype=torch.int64, device="meta")}, ValueError, "`ids` must be on c.*, is on meta"),
    ({"n": 2**31}, ValueError, r"`n` = 2147483648 does not fit int \(-2147483648 to 2147483647\)"),
    ({"u": -1}, ValueError, r"`u` = -1 does not fit uint32_t \(0 to 4294967295\)"),
    ({"n": 1.5}, TypeError, r"`n` must be an integer \(int\), got float 1.5"),
    ({"big": "7"}, TypeError, r"`big` must be an integer \(int64_t\), got str '7'"),
    ({"f": None}, TypeError, r"`f` must be a number \(float\), got NoneType"),
    ({"f": "1.5"}, TypeError, r"`f` must be a number \(float\), got str"),
    *[
        ({"b": value}, TypeError, rf"`b` must be True or False \(bool\), got {type(value).__name__} ")
        for value in ("no", "", 2, None, [0], 0.0, np.float32(1), torch.tensor([True]))
    ],
    ({"f": 1e39}, ValueError, "`f` = 1e.39 does not fit float"),
    ({"stream": "default"}, TypeError, "`stream` must be a torch.cuda.Stream, .* got str"),
    ({"shape": (3, -4, True, 0.125)}, TypeError, r"`shape` must be a mapping.* of Shape \(rows, columns.*got tuple"),
    ({"shape": None}, TypeError, "`shape` must be a mapping.* got NoneType"),
    ({"shape": {**SHAPE, "row": 1}}, TypeError, "there is no `shape.row`; Shape has rows, columns, causal, scale"),
    (
        {"shape": {"rows": 3, "scale": 1.0}},
        TypeError,
        "missing `shape.columns`, `shape.causal`; Shape has rows, columns",
    ),
    ({"shape": {**SHAPE, "columns": 2**31}}, ValueError, "`shape.columns` = 2147483648 does not fit int32_t"),
    ({"shape": {**SHAPE, "rows": 0.5}}, TypeError, r"`shape.rows` must be an integer \(int32_t\), got float 0.5"),
    ({"shape": {**SHAPE, "scale": "x"}}, TypeError, r"`shape.scale` must be a number \(double\), got str"),
]


@pytest.mark.parametrize(("changes", "expected"), GOOD)
def test_what_fits_arrives(way, changes, expected):
    """Would catch an argument of the wrong width or in the wrong register: garbage that no kernel could notice."""
    module, device = way
    arguments, values = right(device)
    arguments |= changes
    wanted = [expected.get(i, value) for i, value in enumerate(values)]
    module.record(*arguments.values())
    assert arguments["y"].tolist()[:12] == wanted
    arguments["y"].zero_()
    first = dict(list(arguments.items())[:2])
    module.record(*first.values(), **{name: value for name, value in arguments.items() if name not in first})
    assert arguments["y"].tolist()[:12] == wanted


@pytest.mark.parametrize(("changes", "error", "message"), BAD)
def test_what_does_not_fit_is_refused(way, changes, error, message):
    """Would catch a number that is cut off and a tensor that is read as something else, both without a word; and one
    way of calling a launcher that takes what another refuses."""
    module, device = way
    arguments, _ = right(device)
    for name, value in changes.items():
        arguments[name] = value(device) if callable(value) else value
    with pytest.raises(error, match=f"record: {message}"):
        module.record(**arguments)
    with pytest.raises(error, match=f"record: {message}"):
        module.record(*arguments.values())
    assert not arguments["y"].any(), "it was launched"


def test_arguments_that_are_missing_or_too_many(way):
    """Would catch a launch with what lay in the registers, or with the wrong parameter's value."""
    module, device = way
    arguments, _ = right(device)
    with pytest.raises(TypeError, match=r"record\(x, y, ids.*stream=None\): missing a required argument: 'ids'"):
        module.record(arguments["x"], arguments["y"])
    with pytest.raises(TypeError, match=r"too many positional arguments"):
        module.record(*arguments.values(), None, None)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'm'"):
        module.record(**arguments, m=1)
    assert not arguments["y"].any()


def test_a_ready_struct(way):
    """Would catch a struct whose fields are set without a check, and one that a module of the same struct refuses."""
    module, device = way
    arguments, values = right(device)
    Shape = module.structs["Shape"]
    shape = arguments["shape"] = Shape(3, -4, scale=0.125, causal=True)
    module.record(**arguments)
    assert arguments["y"].tolist()[:12] == values
    shape.rows = 5
    module.record(**arguments)
    assert arguments["y"][8].item() == 5
    with pytest.raises(ValueError, match="Shape: `rows` = -2147483649 does not fit int32_t"):
        shape.rows = -(2**31) - 1
    with pytest.raises(AttributeError, match="Shape has no field `row`; it has rows, columns, causal, scale"):
        shape.row = 1
    with pytest.raises(TypeError, match="Shape: missing `causal`, `scale`"):
        Shape(1, 2)
    with pytest.raises(TypeError, match=r"Shape has 4 fields \(rows, .*\), got 5 values"):
        Shape(1, 2, True, 1.0, 5)
    with pytest.raises(TypeError, match="field `rows` is given twice"):
        Shape(1, 2, True, 1.0, rows=5)
    assert repr(shape) == "Shape(rows=5, columns=-4, causal=True, scale=0.125)"
    other = yaie.cuda.load(
        HEADER + 'extern "C" int rows(int n, Shape s) { return n - s.rows; }', backend="emulator", check=False
    )
    other.rows(5, shape)


def test_an_error_of_a_launch_is_raised(way):
    """Would catch a launch that failed unnoticed: the numbers would be those of an earlier one."""
    module, device = way
    arguments, _ = right(device)
    with pytest.raises(yaie.cuda.KernelError, match=r"record \(record.cu:14\) returned (CUDA )?error 7"):
        module.record(**arguments | {"n": 13})


@pytest.mark.parametrize("way", ["first use", "ahead of time"], indirect=True)
def test_the_stream(way):
    """Would catch launches on another stream than the one that the tensors are written on."""
    module, device = way
    arguments, _ = right(device)
    for stream, handle in (((), 99), ((None,), 99), ((7,), 7), ((SimpleNamespace(cuda_stream=8),), 8)):
        module.record(*arguments.values(), *stream)
        assert arguments["y"][12].item() == handle


@pytest.mark.parametrize("way", ["first use", "ahead of time"], indirect=True)
def test_a_launch_is_one_call_of_python(way):
    """Would catch layers between the engine and a launch, of which a step has hundreds while the card waits."""
    module, device = way
    arguments, _ = right(device)
    values = [*arguments.values()]
    values[-1] = module.structs["Shape"](**values[-1])
    called = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        module.record(*values)
    finally:
        sys.setprofile(None)
    assert called == ["call"]


@pytest.mark.parametrize(
    ("struct", "message"),
    [
        ("struct S { int n; float* x; };", r"source.cu:2: struct S: cannot read `float\* x`"),
        ("struct S { int n[4]; };", r"source.cu:2: struct S: cannot read `int n\[4\]`"),
        ("struct S { int n = 1; };", "source.cu:2: struct S: cannot read `int n = 1`"),
        ("struct S { int n; int twice() const { return 2 * n; } };", "source.cu:2: struct S: cannot read `int twice"),
        ("struct S { half n; };", "source.cu:2: struct S: cannot read `half n`"),
        ("struct S {};", "source.cu:2: struct S: cannot read `{ }`"),
        ("struct R { int n; }; struct S : R {};", "parameter `s` has type S, which Python cannot pass"),
        ("struct S { bool b; } __attribute__((aligned(8)));", "struct S is not what its text says"),
    ],
)
def test_a_struct_that_python_cannot_fill(struct, message):
    """Would catch a struct that is passed with its fields in the wrong places."""
    with pytest.raises(yaie.cuda.CompileError, match=message):
        yaie.cuda.load(f'\n{struct}\nextern "C" int f(S s) {{ return 0; }}', backend="emulator")


def test_a_struct_of_a_header_is_named_by_its_line(tmp_path):
    """Would catch a message about the wrong file."""
    (tmp_path / "shape.cuh").write_text("#pragma once\n// struct S { int n; };\nstruct S { int* n; };\n")
    (tmp_path / "run.cu").write_text('#include "shape.cuh"\nextern "C" int f(struct S s) { return 0; }\n')
    with pytest.raises(yaie.cuda.CompileError, match=r"shape.cuh:3: struct S: cannot read `int\* n`") as caught:
        yaie.cuda.load(tmp_path / "run.cu", backend="emulator")
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "shape.cuh"), 3)


@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="nvcc is not installed")
def test_nvcc_takes_the_table(folder):
    """Would catch a launcher of this file that only g++ compiles."""
    assert yaie.cuda.compile_cubin(folder / "record.cu").kernels


@pytest.mark.parametrize(
    ("types", "taken"),
    [
        ("float, float2, float3, float4", [torch.float32]),
        ("double, double2", [torch.float64]),
        ("half, __half, half2, __half2", [torch.float16]),
        ("__nv_bfloat16, nv_bfloat16, __nv_bfloat162, nv_bfloat162", [torch.bfloat16]),
        ("char, signed char, int8_t", [torch.int8]),
        ("unsigned char, uint8_t, uchar4", [torch.uint8]),
        ("short, int16_t", [torch.int16]),
        ("unsigned short, uint16_t", [torch.uint16, torch.int16]),
        ("int, int32_t, int2, int3, int4", [torch.int32]),
        ("unsigned, unsigned int, uint32_t, uint2, uint4", [torch.uint32, torch.int32]),
        ("long, long long, int64_t, longlong2", [torch.int64]),
        ("unsigned long, unsigned long long, uint64_t, size_t", [torch.uint64, torch.int64]),
        ("bool", [torch.bool]),
    ],
)
def test_the_tensors_that_a_pointer_takes(types, taken):
    """Would catch a spelling of a type that no tensor fits, or one that takes bits for another number."""
    every = [value for value in vars(torch).values() if isinstance(value, torch.dtype)]
    for spelling in types.split(", "):
        (launcher,) = find_launchers(f'extern "C" void f(const {spelling}* x) {{}}', None)
        rule = Rules(launcher, "cpu").each[0]
        fitting = {dtype for dtype in every if dtype in rule.dtypes}
        assert fitting == set(taken), spelling
        for dtype in taken:
            assert rule.convert(torch.empty(3, dtype=dtype)).dtype == dtype
        with pytest.raises(TypeError, match=rf"so it must be {taken[0]}.*got torch.complex64"):
            rule.convert(torch.empty(3, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("types", "low", "high"),
    [
        ("char, signed char, int8_t", -(2**7), 2**7 - 1),
        ("unsigned char, uint8_t", 0, 2**8 - 1),
        ("short, int16_t", -(2**15), 2**15 - 1),
        ("unsigned short, uint16_t", 0, 2**16 - 1),
        ("int, int32_t", -(2**31), 2**31 - 1),
        ("unsigned, unsigned int, uint32_t", 0, 2**32 - 1),
        ("long, long long, int64_t", -(2**63), 2**63 - 1),
        ("unsigned long, unsigned long long, uint64_t, size_t", 0, 2**64 - 1),
    ],
)
def test_the_numbers_that_a_parameter_takes(types, low, high):
    """Would catch a spelling that a pointer may have and a number may not (once int16_t), and a limit off by one."""
    for spelling in types.split(", "):
        (launcher,) = find_launchers(f'extern "C" void f({spelling} n) {{}}', None)
        rule = Rules(launcher, "cpu").each[0]
        assert (rule.exact, rule.limits) == (int, (low, high))
        assert [rule.convert(value).value for value in (low, 7, high)] == [low, 7, high]
        for value in (low - 1, high + 1):
            with pytest.raises(ValueError, match=f"`n` = {value} does not fit {spelling}"):
                rule.convert(value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('extern "C" int a(int n) { return n; } int b(int n) { return n; }', ["a"]),
        ('extern "C" { int a(int n) { if (n) { return 1; } return 0; } void b(float* x) {} }', ["a", "b"]),
        ('extern "C" { int n; int a(int n) { return n; } } namespace s { int x; int b(int n) { return n; } }', ["a"]),
        ('extern "C" { int a(int n) { return n; }', ["a"]),
        ('extern "C" { } extern "C" { void a(int n) {} } extern "C" void b() {}', ["a", "b"]),
        ('extern "C" int a(int n); extern "C" int b(int n) { return n; }', ["b"]),
    ],
)
def test_where_the_launchers_of_a_file_end(text, names):
    """Would catch functions behind a closed block that are taken for launchers, and a file that ends in a block."""
    assert [launcher.name for launcher in find_launchers(text, None)] == names
