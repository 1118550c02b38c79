"""`yaie_kernels`, which `pip install ./csrc` builds: what goes into it, and what it says when it cannot be built.

Its launches on a GPU are tested where there is one; that they are refused without one, anywhere with nvcc.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import yaie.cuda
from yaie.cuda.rewrite import find_launchers
from yaie.kernels.ops import CSRC, launching

spec = importlib.util.spec_from_file_location("csrc_setup", CSRC / "setup.py")
csrc_setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(csrc_setup)


# Two files that share a header with a function which is not inline, and have kernels of the same name.
SHARED = """
#pragma once
#include <cuda_runtime.h>
__device__ float raised(float x) { return x + ADDED; }
"""
RAISE = """
#include <stdint.h>
#define ADDED {added}
#include "shared.cuh"
__global__ void raise_kernel(float* x) {{ x[0] = raised(x[0]); }}
extern "C" int raise_by_{added}(float* x, cudaStream_t stream) {{
    raise_kernel<<<1, 1, 0, stream>>>(x);
    return cudaGetLastError();
}}
"""


@pytest.mark.parametrize("source", csrc_setup.sources(), ids=csrc_setup.name_of)
def test_every_launcher_is_bound(source):
    """Would catch a launcher that is written in a way which setup.py overlooks: it would be missing on a GPU only."""
    found = [(name, names) for name, _, names in csrc_setup.launchers(source)]
    expected = find_launchers(source.read_text(), source)
    assert found == [(each.name, [p.name for p in each.parameters]) for each in expected]


def test_no_two_files_have_a_launcher_of_the_same_name():
    """Would catch names that clash only when all files are linked into one library."""
    names = [name for source in csrc_setup.sources() for name, _, _ in csrc_setup.launchers(source)]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_the_hash_tells_texts_apart(tmp_path, monkeypatch):
    """Would catch a kernel that is served from a library although its file, or a header, has been edited since."""
    monkeypatch.setattr(csrc_setup, "CSRC", tmp_path)
    (tmp_path / "family").mkdir()
    source, header = tmp_path / "family" / "kernel.cu", tmp_path / "common.cuh"
    (tmp_path / "family" / "own.cuh").write_text('#include "../common.cuh"\n')
    hashes = set()
    for text in ("a", "b"):
        for shared in ("c", "d"):
            source.write_text(f'#include <stdint.h>\n#include "own.cuh"\n{text}')
            header.write_text(f'#include "family/own.cuh"\n{shared}')
            hashes.add(csrc_setup.source_hash(source))
    assert len(hashes) == 4
    (tmp_path / "family" / "another.cuh").write_text("")
    assert csrc_setup.source_hash(source) in hashes, "a header that it does not include"


def test_architectures(monkeypatch, tmp_path):
    """Would catch a build for the wrong card, and one that quietly builds nothing where there is no GPU."""
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0a 12.0+PTX")
    archs = csrc_setup.architectures()
    assert csrc_setup.arch_flags(archs) == [
        *("-gencode", "arch=compute_80,code=sm_80"),
        *("-gencode", "arch=compute_90a,code=sm_90a"),
        *("-gencode", "arch=compute_120,code=sm_120"),
        *("-gencode", "arch=compute_120,code=compute_120"),
    ]
    with pytest.raises(SystemExit, match="names 'Hopper'"):
        csrc_setup.arch_flags(["Hopper"])
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"there is no GPU here.*TORCH_CUDA_ARCH_LIST="):
        csrc_setup.architectures()
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '8.9\\n9.0\\n9.0\\n'\n")
    smi.chmod(0o755)
    assert csrc_setup.architectures() == ["8.9", "9.0a"]


def test_without_nvcc_the_build_ends_with_a_sentence(monkeypatch, tmp_path):
    """Would catch an install that succeeds and installs nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(SystemExit, match="nvcc was not found"):
        csrc_setup.build(tmp_path / "yaie_kernels.so", [], ["9.0"], "")


class Kernels:
    """Stands for the module `yaie_kernels`."""

    def __init__(self, name: str, source_hash: str, architectures: str = "8.0;9.0a") -> None:
        self.SOURCES, self.ARCHITECTURES = {name: source_hash}, architectures


def test_it_is_used_while_its_text_is_the_files(monkeypatch):
    """Would catch an engine that goes on with what was installed while its file is edited, or never uses it."""
    name = "memory/copy_blocks.cu"
    right = Kernels(name, csrc_setup.source_hash(CSRC / name))
    monkeypatch.setattr(yaie.cuda, "load", lambda *args, **kwargs: "compiled now")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    load = launching.load.__wrapped__  # without its cache
    monkeypatch.setattr(launching, "ahead_of_time", lambda: None)
    assert load(name, "cuda") == "compiled now"
    monkeypatch.setattr(launching, "ahead_of_time", lambda: right)
    assert load(name, "cuda") is right
    assert load(name, "cuda", "another text") == "compiled now"
    assert load(name, "emulator") == "compiled now"
    monkeypatch.setattr(launching, "ahead_of_time", lambda: Kernels(name, "an older one"))
    with pytest.warns(UserWarning, match=r"memory/copy_blocks.cu .* was edited since yaie_kernels was built"):
        assert load(name, "cuda") == "compiled now"
    other = Kernels(name, right.SOURCES[name], "8.0;12.0")
    monkeypatch.setattr(launching, "ahead_of_time", lambda: other)
    with pytest.warns(UserWarning, match=r"was built for other cards \(8.0;12.0\)"):
        assert load(name, "cuda") == "compiled now"


def test_which_cards_a_build_runs_on():
    """Would catch kernels without code for the card: CUDA says so at the first launch, in the middle of a request."""
    runs_on = csrc_setup.runs_on
    assert runs_on(["8.0"], (8, 0))
    assert runs_on(["8.0"], (8, 9))
    assert not runs_on(["8.9"], (8, 0))
    assert not runs_on(["8.0"], (9, 0))
    assert runs_on(["8.0+PTX"], (9, 0))
    assert not runs_on(["9.0+PTX"], (8, 9))
    assert runs_on(["8.0", "9.0a"], (9, 0))
    assert runs_on(["8.0+PTX"], (8, 6))
    assert not runs_on(["10.0a"], (10, 3))
    assert not runs_on(["9.0a+PTX"], (10, 0))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a `yaie_kernels` with three files, for the GPU here or for an H100."""
    if not yaie.cuda.find_nvcc():
        pytest.skip("no nvcc on this machine")
    csrc, folder = tmp_path_factory.mktemp("csrc"), tmp_path_factory.mktemp("kernels")
    for name in ("bindings.cpp", "memory/copy_blocks.cu"):
        (csrc / name).parent.mkdir(exist_ok=True)
        shutil.copy(CSRC / name, csrc / name)
    (csrc / "memory" / "shared.cuh").write_text(SHARED)
    for added in (1, 2):
        (csrc / "memory" / f"raise_{added}.cu").write_text(RAISE.format(added=added))
    archs = csrc_setup.architectures() if torch.cuda.is_available() else ["9.0a"]
    pybind = Path(torch.__file__).parent / "include"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csrc_setup, "CSRC", csrc)
        csrc_setup.build(folder / "yaie_kernels.so", csrc_setup.sources(), archs, str(pybind))
    return folder


def in_python(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import yaie_kernels as k\n{code}"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_imported_without_a_gpu_and_without_torch(built):
    """Would catch a library that needs the driver, or another version of torch than the one it was built beside."""
    out = in_python(
        built, "import sys; print(k.SOURCES, 'torch' in sys.modules)\nprint(k.copy_blocks_2_vectors.__doc__)"
    )
    copied = csrc_setup.source_hash(CSRC / "memory" / "copy_blocks.cu")
    assert f"'memory/copy_blocks.cu': '{copied}'" in out
    assert "} False" in out
    assert "num_layers: object, num_blocks: object, block_bytes: object, stream: object = None" in out


def test_arguments_that_a_launcher_cannot_take_are_refused(built):
    """Would catch a pointer to the CPU's memory in a kernel, a number that is cut off, an address made from a str."""
    code = """
import torch
x = torch.zeros(4)
for arguments in [(x, 0, 0, 1), (0, 0, 0, 2**40), (0, 0, 0, 1.5), ("x", 0, 0, 1)]:
    try:
        k.copy_blocks_2_vectors(*arguments, 1, 1, 4)
    except (TypeError, ValueError) as error:
        print(error)
"""
    assert in_python(built, code).splitlines() == [
        "copy_blocks_2_vectors: `key_cache` must be on a GPU, is on cpu",
        "copy_blocks_2_vectors: `num_pairs` must be a number that fits int, got 1099511627776",
        "copy_blocks_2_vectors: `num_pairs` must be a number that fits int, got 1.5",
        "copy_blocks_2_vectors: `key_cache` must be a tensor, got str",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_a_launch_is_an_error(built):
    """Would catch a launch that failed and nobody noticed."""
    code = "try: k.copy_blocks_2_vectors(0, 0, 0, 1, 1, 1, 4, 0)\nexcept RuntimeError as error: print(error)"
    assert in_python(built, code).startswith("copy_blocks_2_vectors: cudaError")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_runs_on_the_current_stream(built):
    """Would catch launches on the default stream, which would copy before the other stream has written."""
    code = """
import torch
side = torch.cuda.Stream()
caches = torch.zeros(2, 8, 4096, device="cuda")
pairs = torch.tensor([[0, 5]], device="cuda")
torch.cuda.synchronize()
with torch.cuda.stream(side):
    torch.cuda._sleep(100_000_000)
    caches[:, 0] = 7
    k.copy_blocks_2_vectors(caches[0], caches[1], pairs, 1, 1, 8, 4096 * 4)
side.synchronize()
assert caches[:, 5].eq(7).all() and caches[:, 1:5].eq(0).all()
try: k.copy_blocks_2_vectors(caches[0], caches[1], pairs.int(), 1, 1, 8, 4096 * 4)
except TypeError as error: print(error)
"""
    assert in_python(built, code) == "copy_blocks_2_vectors: `block_mapping` must be torch.int64, is torch.int32\n"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_files_with_the_same_names_stay_apart(built):
    """Would catch a linker that keeps one of two kernels of the same name: every second answer would be another's."""
    code = """
import torch
x = torch.zeros(1, device="cuda")
k.raise_by_1(x)
k.raise_by_2(x)
print(x.item())
"""
    assert in_python(built, code) == "3.0\n"
