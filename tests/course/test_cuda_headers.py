"""An exercise whose function lies in a header: it goes into every file that includes it, and lines keep their names."""

import pytest
import torch

import yaie.cuda
from yaie.course import files
from yaie.course.language import CUDA, Swap, cuda, engine_seam
from yaie.course.registry import Exercise, Lesson
from yaie.cuda.source import read_source
from yaie.kernels.ops import launching

PART = """#pragma once

constexpr float FACTOR = 2;

// Twice x.
__device__ __forceinline__ float twice(float x) {
    return FACTOR * x;
}

__device__ __forceinline__ float thrice(float x) {
    return twice(x) + x;
}
"""
HELPER = """#pragma once
#include "part.cuh"

__device__ __forceinline__ float four_times(float x) {
    return twice(twice(x));
}
"""
DIRECT = """// Includes the header by itself, and again through the helper.
#include "part.cuh"
#include "helper.cuh"

__global__ void kernel(float* x, int n) {
    const int i = threadIdx.x;
    if (i < n) {
        x[i] = thrice(x[i]) + four_times(x[i]);
    }
}

extern "C" int seven_1_direct(float* x, int n, cudaStream_t stream) {
    kernel<<<1, 32, 0, stream>>>(x, n);
    return cudaGetLastError();
}
"""
INDIRECT = """#include "helper.cuh"

__global__ void kernel(float* x, int n) {
    if (threadIdx.x < n) {
        x[threadIdx.x] = four_times(x[threadIdx.x]);
    }
}

extern "C" int four_2_indirect(float* x, int n, cudaStream_t stream) {
    kernel<<<1, 32, 0, stream>>>(x, n);
    return cudaGetLastError();
}
"""
OTHER = 'extern "C" int nothing(int n, cudaStream_t stream) {\n    return n;\n}\n'
# Five times what it should be, by a function of the learner's own.
WRITTEN = "__device__ __forceinline__ float twice(float x) {\n    return mine() * x;\n}\n"
OWN = "\n__device__ __forceinline__ float mine() {\n    return 10;\n}\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A lesson with one exercise on a header that two of three files include."""
    folder = tmp_path / "csrc" / "scan"
    folder.mkdir(parents=True)
    contents = {"part.cuh": PART, "helper.cuh": HELPER, "direct.cu": DIRECT, "indirect.cu": INDIRECT, "other.cu": OTHER}
    for name, text in contents.items():
        (folder / name).write_text(text)
    for family in launching.CSRC.iterdir():  # the engine's own stay where operations look for them
        (tmp_path / "csrc" / family.name).symlink_to(family)
    monkeypatch.setattr(cuda, "REPOSITORY", tmp_path)
    monkeypatch.setattr(engine_seam, "CSRC", tmp_path / "csrc")
    monkeypatch.setattr(launching, "CSRC", tmp_path / "csrc")
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(tmp_path))
    for cached in (cuda.engine_text, cuda.compiled_files, cuda.fastest_rungs):
        cached.cache_clear()
    lesson = Lesson(99, "headers", "Headers", 1)
    fields = {"title": "Twice", "minutes": 1, "difficulty": 1, "statement": "Twice `x`.", "hints": ()}
    fields |= {"mistakes": (), "folder": tmp_path}
    lesson.exercises.append(Exercise(id="99.1", target="csrc/scan/part.cuh:twice", lesson=lesson, **fields))
    yield lesson.exercises[0]
    for cached in (cuda.engine_text, cuda.compiled_files, cuda.fastest_rungs):
        cached.cache_clear()


def texts_with(exercise, function, start=None):
    """The engine's files with an answer in them, by their names."""
    text = CUDA.render(exercise.file, {"99.1": OWN + function})
    path = files.exercise_path(exercise.file)
    wanted = cuda.by_compiled_file(exercise.file, {"99.1"})
    return {
        name.rpartition("/")[2]: cuda.spliced(exercise.file, path, text, name, them) for name, them in wanted.items()
    }, text


def test_the_stub_is_the_functions_and_says_what_may_be_used(tree):
    """Would catch an exercise of a header that cannot be rendered, or that leaves out the header's own constants."""
    text = CUDA.render(tree.file)
    assert not CUDA.find(tree, text).attempted
    assert "// Twice `x`." in text
    assert "constexpr float FACTOR = 2;" in text
    assert "FACTOR * x" not in text


def test_every_file_that_includes_the_header_gets_the_function(tree, monkeypatch):
    """Would catch a file that goes on with the original: the same function would then give two results."""
    texts, _ = texts_with(tree, WRITTEN)
    assert set(texts) == {"direct.cu", "indirect.cu"}
    folder = cuda.REPOSITORY / "csrc" / "scan"
    for name, launcher, factor in (("direct.cu", "seven_1_direct", 111), ("indirect.cu", "four_2_indirect", 100)):
        module = yaie.cuda.load(texts[name], path=folder / name, backend="emulator", check=True)
        x = torch.tensor([1.0, 2.0, 3.0])
        getattr(module, launcher)(x, 3)
        assert x.tolist() == [factor * value for value in (1.0, 2.0, 3.0)], name
    ladders = {"seven": {1: ("scan/direct.cu", "seven_1_direct")}, "four": {2: ("scan/indirect.cu", "four_2_indirect")}}
    monkeypatch.setattr(engine_seam, "ladders", lambda: ladders)
    assert cuda.fastest_rungs("csrc/scan/direct.cu", frozenset(["twice"])) == {"seven": 1}
    assert cuda.fastest_rungs("csrc/scan/indirect.cu", frozenset(["twice"])) == {"four": 2}
    assert cuda.fastest_rungs("csrc/scan/indirect.cu", frozenset(["thrice"])) == {}


def test_errors_name_the_line_where_it_was_written(tree):
    """Would catch a compiler's message that sends the learner into the engine's file."""
    path = cuda.REPOSITORY / "csrc" / "scan" / "direct.cu"
    texts, text = texts_with(tree, WRITTEN.replace("mine()", "nothing"))
    with pytest.raises(yaie.cuda.CompileError) as caught:
        yaie.cuda.load(texts["direct.cu"], path=path, backend="emulator")
    line = text.split("\n").index("    return nothing * x;") + 1
    assert (caught.value.file, caught.value.line) == (str(files.exercise_path(tree.file)), line)


def test_findings_name_the_line_of_the_file_around_it(tree):
    """Would catch line numbers of the `.cu` file that are off by the header that was put into it."""
    path = cuda.REPOSITORY / "csrc" / "scan" / "direct.cu"
    path.write_text(DIRECT.replace("x[i] = thrice", "x[n + i] = thrice"))
    texts, _ = texts_with(tree, WRITTEN)
    module = yaie.cuda.load(texts["direct.cu"], path=path, backend="emulator", check=True)
    with pytest.raises(yaie.cuda.KernelError) as caught:
        module.seven_1_direct(torch.ones(3), 3)
    finding = caught.value.findings[0]
    assert (finding.file, finding.line) == (str(path), 8)
    assert path.read_text().split("\n")[7].strip().startswith("x[n + i] = ")


def test_lines_of_the_header_stay_its_own(tree):
    """Would catch a profile that counts the header's other functions to the learner."""
    folder = cuda.REPOSITORY / "csrc" / "scan"
    texts, _ = texts_with(tree, WRITTEN)
    shown = read_source(texts["direct.cu"], folder / "direct.cu").lines()
    after = PART.split("\n").index("__device__ __forceinline__ float thrice(float x) {")
    assert shown[str(folder / "part.cuh")][after:] == PART.split("\n")[after:]
    start = DIRECT.split("\n").index("__global__ void kernel(float* x, int n) {")
    assert shown[str(folder / "direct.cu")][start:] == DIRECT.split("\n")[start:]


def test_owner_and_what_stays(tree):
    """Would catch a header's function that counts as the engine's although the learner's is in, or stays in."""
    assert CUDA.owner(tree) == "part.cuh"
    swap = CUDA.install(tree.file, CUDA.render(tree.file, {"99.1": OWN + WRITTEN}), ["99.1"])
    assert isinstance(swap, Swap)
    assert set(engine_seam.sources()) == {"scan/direct.cu", "scan/indirect.cu"}
    assert CUDA.owner(tree) == "99_headers.cu"
    again = CUDA.install(tree.file, CUDA.render(tree.file, {"99.1": OWN + WRITTEN}), ["99.1"])  # on top of itself
    assert CUDA.owner(tree) == "99_headers.cu"
    again.take_out()
    swap.take_out()
    assert CUDA.owner(tree) == "part.cuh"
    assert not engine_seam.sources()
