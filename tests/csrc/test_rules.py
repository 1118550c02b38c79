"""What every file of csrc/ must keep to, read from its text: rules that one launch on one machine would not show."""

import re
from pathlib import Path

import pytest

from yaie.course.cuda_source import blanked, pieces
from yaie.cuda import build
from yaie.cuda.rewrite import find_launchers
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
    code = blanked(text)
    launching = [code[piece.start : piece.end] for piece in pieces(text) if "<<<" in code[piece.start : piece.end]]
    assert launching
    assert [function for function in launching if "cudaGetLastError()" not in function] == []


@pytest.mark.parametrize("path", [*SOURCES, *HEADERS], ids=lambda path: path.name)
def test_every_launch_names_its_stream(path):
    """Would catch `<<<blocks, threads>>>`, which goes to the default stream although a stream was given."""
    for launch in re.finditer(r"<<<(.*?)>>>", blanked(path.read_text()), re.DOTALL):
        assert re.search(r"\bstream$", launch[1].strip()), launch[0]


def test_no_fast_math():
    """Would catch sums and exponentials that are quietly less exact than what the course derives."""
    for path in (Path(build.__file__), CSRC / "setup.py"):
        assert not re.search("fast.math|Ofast", path.read_text()), path
