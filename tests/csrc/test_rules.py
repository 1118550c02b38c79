"""What every file of csrc/ must keep to, read from its text: rules that one launch on one machine would not show."""

import re
from pathlib import Path

import pytest

from yaie.course.language.cuda_text import blanked, pieces
from yaie.cuda.card import build, nvcc
from yaie.cuda.launchers import find_launchers
from yaie.cuda.source import strip_comments
from yaie.kernels.ops import CSRC

SOURCES = sorted(CSRC.glob("*/*.cu"))
HEADERS = sorted(CSRC.glob("**/*.cuh"))
# What a CUDA graph cannot capture, or what makes the CPU wait.
FORBIDDEN = re.compile(
    r"cuda(?:Device|Stream|Event|Context)Synchronize|cudaMalloc|cudaFree|cudaMemcpy\b|cudaMemset\b|cudaSetDevice"
)


@pytest.mark.parametrize("path", [*SOURCES, *HEADERS], ids=lambda path: path.name)
def test_nothing_waits_or_allocates(path):
    """Would catch a kernel that the engine could not capture in a CUDA graph, or that stops the CPU in each layer."""
    found = FORBIDDEN.search(blanked(path.read_text()))
    assert found is None, found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_launcher_takes_a_stream_and_returns_an_error(path):
    """Would catch a launch on the default stream, which waits for all others, and a launch that fails unnoticed."""
    text = path.read_text()
    launchers = find_launchers(text, path)
    assert launchers
    for launcher in launchers:
        assert launcher.returns == "int", launcher.name
        assert (launcher.parameters[-1].name, launcher.parameters[-1].type) == ("stream", "cudaStream_t")
    launching = []
    for file in (path, *path.parent.glob("*.cuh")):  # rungs may share a launch
        code = blanked(file.read_text())
        launching += [code[piece.start : piece.end] for piece in pieces(code) if "<<<" in code[piece.start : piece.end]]
    assert launching
    assert [function for function in launching if "cudaGetLastError()" not in function] == []


@pytest.mark.parametrize("path", [*SOURCES, *HEADERS], ids=lambda path: path.name)
def test_every_launch_names_its_stream(path):
    """Would catch `<<<blocks, threads>>>`, which goes to the default stream although a stream was given."""
    for launch in re.finditer(r"<<<(.*?)>>>", blanked(path.read_text()), re.DOTALL):
        assert re.search(r"\bstream$", launch[1].strip()), launch[0]


LONGEST = 120  # lines of a function, so that it can be read as a whole


def block_lengths(text: str) -> dict[str, int]:
    """The lines of every block in braces, by what stands before it: functions and whatever is inside of them, not types
    and namespaces."""
    code, lengths, opened = strip_comments(text), {}, []
    for place in re.finditer("[{}]", code):
        if place[0] == "{":
            head = re.split(r"[;{}]", code[: place.start()])[-1].strip()
            opened.append((head, place.start() - len(head)))
        else:
            head, start = opened.pop()
            if "(" in head or not re.search(r"\b(namespace|struct|class|union|enum)\b", head):
                lines = code.count("\n", start, place.end()) + 1
                lengths[head] = max(lines, lengths.get(head, 0))
    assert not opened
    return lengths


@pytest.mark.parametrize("path", [*SOURCES, *HEADERS, *CSRC.glob("*.cpp")], ids=lambda path: path.name)
def test_functions_are_short(path):
    """Would catch a kernel that has grown until nobody reads it as a whole (one had 294 lines)."""
    lengths = block_lengths(path.read_text())
    assert {head: lines for head, lines in lengths.items() if lines > LONGEST} == {}


def test_a_long_function_is_found():
    """Would catch a measure that overlooks functions: of templates, in structs, in namespaces."""
    body = "\n" * LONGEST
    for before, after in (("", ""), ("struct S {", "};"), ("namespace {", "}")):
        lengths = block_lengths(f"{before}template <int N>\n__global__ void f(int (&x)[N]) {{ {body} }}{after}")
        assert max(lengths.values()) == LONGEST + 2, before


def test_no_fast_math():
    """Would catch sums and exponentials that are quietly less exact than what the course derives."""
    for path in (Path(build.__file__), Path(nvcc.__file__), CSRC / "setup.py"):
        assert not re.search("fast.math|Ofast", path.read_text()), path
