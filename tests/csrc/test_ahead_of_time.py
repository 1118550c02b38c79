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
from yaie.cuda.card import library, nvcc, prebuilt
from yaie.cuda.launchers import find_launchers
from yaie.cuda.source import read_source
from yaie.kernels.ops import CSRC

spec = importlib.util.spec_from_file_location("csrc_setup", CSRC / "setup.py")
csrc_setup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(csrc_setup)


# Two files that share a header with a function which is not inline, and have kernels of the same name.
SHARED = """
#pragma once
#include <cuda_runtime.h>
struct Times { int times; };
__device__ float raised(float x, Times times) { return x + ADDED * times.times; }
"""
RAISE = """
#include <stdint.h>
#define ADDED {added}
#include "shared.cuh"
__global__ void raise_kernel(float* x, Times times) {{ x[0] = raised(x[0], times); }}
extern "C" int raise_by_{added}(float* x, Times times, cudaStream_t stream) {{
    raise_kernel<<<1, 1, 0, stream>>>(x, times);
    return cudaGetLastError();
}}
"""


def test_no_two_files_have_a_launcher_of_the_same_name():
    """Would catch names that clash only when all files are linked into one library."""
    files = csrc_setup.sources()
    names = [launcher.name for file in files for launcher in find_launchers(file.read_text(), file)]
    assert names
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_the_fingerprint_tells_texts_apart(tmp_path):
    """Would catch a kernel that is served from a library although its file, or a header, has been edited since."""
    (tmp_path / "family").mkdir()
    source, header = tmp_path / "family" / "kernel.cu", tmp_path / "common.cuh"
    (tmp_path / "family" / "own.cuh").write_text('#include "../common.cuh"\n')
    found = set()
    for text in ("a", "b"):
        for shared in ("c", "d"):
            source.write_text(f'#include <stdint.h>\n#include "own.cuh"\n{text}')
            header.write_text(f'#include "family/own.cuh"\n{shared}')
            found.add(read_source(source).fingerprint())
    assert len(found) == 4
    (tmp_path / "family" / "another.cuh").write_text("")
    assert read_source(source).fingerprint() in found, "a header that it does not include"


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


def test_files_for_hopper_are_left_out_by_name_elsewhere(capsys):
    """Would catch a build for other cards that ends with the compiler's errors, or that quietly lacks kernels."""
    for_all, hopper = (CSRC / "flash_attention" / f"flash_attention_{rung}.cu" for rung in ("1_naive", "6_overlap"))
    archs = ["8.0", "9.0a", "12.0+PTX"]
    assert csrc_setup.architectures_by_file([for_all, hopper], archs) == {for_all: archs, hopper: ["9.0a"]}
    assert capsys.readouterr().out == ""
    assert csrc_setup.architectures_by_file([for_all, hopper], ["9.0"]) == {for_all: ["9.0"]}
    assert "flash_attention/flash_attention_6_overlap.cu" in capsys.readouterr().out


def test_without_nvcc_the_build_ends_with_a_sentence(monkeypatch, tmp_path):
    """Would catch an install that succeeds and installs nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(SystemExit, match="nvcc was not found"):
        csrc_setup.build(tmp_path / "yaie_kernels.so", [], ["9.0"], "")


class Kernels:
    """Stands for the module `yaie_kernels`."""

    LAUNCHERS = {"copy_blocks_1_elements": 1, "copy_blocks_2_vectors": 2}

    def __init__(self, name: str, fingerprint: str, architectures: str = "8.0;9.0a") -> None:
        self.SOURCES, self.ARCHITECTURES = {name: fingerprint}, architectures


def test_it_is_used_while_its_text_is_the_files(monkeypatch):
    """Would catch an engine that goes on with what was installed while a file is edited, or never uses it."""
    name = "memory/copy_blocks.cu"
    source = read_source(CSRC / name)
    right = Kernels(name, source.fingerprint())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(prebuilt, "find_prebuilt", lambda: None)
    assert prebuilt.prebuilt_launchers(source) is None
    monkeypatch.setattr(prebuilt, "find_prebuilt", lambda: right)
    assert prebuilt.prebuilt_launchers(source) is Kernels.LAUNCHERS
    assert prebuilt.prebuilt_launchers(read_source("another text", path=source.path)) is None
    assert prebuilt.prebuilt_launchers(read_source(CSRC / "memory" / "reduce.cu")) is None
    monkeypatch.setattr(prebuilt, "find_prebuilt", lambda: Kernels(name, "an older one"))
    with pytest.warns(UserWarning, match=r"memory/copy_blocks.cu .* was edited since yaie_kernels was built"):
        assert prebuilt.prebuilt_launchers(source) is None
    other = Kernels(name, right.SOURCES[name], "8.0;12.0")
    monkeypatch.setattr(prebuilt, "find_prebuilt", lambda: other)
    with pytest.warns(UserWarning, match=r"was built for other cards \(8.0;12.0\)"):
        assert prebuilt.prebuilt_launchers(source) is None


def test_with_flags_it_is_not_used(monkeypatch):
    """Would catch flags that have no effect on a machine where the kernels are installed."""
    source = read_source(CSRC / "memory" / "copy_blocks.cu")
    monkeypatch.setattr(library, "prebuilt_launchers", lambda source: Kernels.LAUNCHERS)
    assert library.CardLibrary(source).addresses is Kernels.LAUNCHERS
    monkeypatch.setattr(library, "build_for_card", lambda source, flags: pytest.fail(f"built with {flags}"))
    with pytest.raises(pytest.fail.Exception, match="built with"):
        library.CardLibrary(source, ["-DMORE"])


def test_which_cards_a_build_runs_on():
    """Would catch kernels without code for the card: CUDA says so at the first launch, in the middle of a request."""
    runs_on = nvcc.runs_on
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
    csrc = folder = tmp_path_factory.mktemp("csrc")
    for name in ("bindings.cpp", "units.cuh", "memory/copy_blocks.cu"):
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
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_imported_without_a_gpu_and_without_torch(built):
    """Would catch a library that needs the driver, or another version of torch than the one it was built beside."""
    code = (
        "import sys, yaie_kernels as k; print(k.SOURCES, sorted(k.LAUNCHERS), k.ARCHITECTURES, 'torch' in sys.modules)"
    )
    out = in_python(built, code)
    copied = read_source(CSRC / "memory" / "copy_blocks.cu").fingerprint()
    assert f"'memory/copy_blocks.cu': '{copied}'" in out
    assert "['copy_blocks_1_elements', 'copy_blocks_2_vectors', 'raise_by_1', 'raise_by_2']" in out
    assert out.endswith("False\n")


def test_setup_reads_the_files_without_torch():
    """Would catch a build that needs the packages of yaie: pip builds where only setuptools and pybind11 are."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'numpy', 'platformdirs', 'yaie']))\n"  # importing them raises
        "import setup\n"
        "print(setup.launchers_inc(setup.sources()), *map(setup.wrapper, setup.sources()))\n"
    )
    out = in_python(CSRC, code)
    assert out.count("YAIE_FILE(") == len(csrc_setup.sources())
    launchers = [each.name for file in csrc_setup.sources() for each in find_launchers(file.read_text(), file)]
    assert [name for name in launchers if f"YAIE_LAUNCHER({name})\n" not in out] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_a_launch_is_an_error(built):
    """Would catch an address that is not the launcher's, and a launch that failed unnoticed."""
    code = """
import ctypes, yaie_kernels
pointer, number = ctypes.c_void_p, ctypes.c_int64
launch = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer, *[ctypes.c_int] * 3, number, pointer)
print(launch(yaie_kernels.LAUNCHERS["copy_blocks_2_vectors"])(0, 0, 0, 1, 1, 1, 4, 0))
"""
    assert int(in_python(built, code)) > 0


# Launchers of the library in this folder, as the engine gets them; what is not in it fails to be built.
LOAD = """
import os, torch, yaie.cuda
from yaie.cuda.card import library
library.build_for_card = None
load = lambda name: yaie.cuda.load(f"{os.getcwd()}/{name}", backend="cuda")
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_runs_on_the_current_stream(built):
    """Would catch launches on the default stream, which would copy before the other stream has written."""
    code = """
copy_blocks = load("memory/copy_blocks.cu").copy_blocks_2_vectors
side = torch.cuda.Stream()
caches = torch.zeros(2, 8, 4096, device="cuda")
pairs = torch.tensor([[0, 5]], device="cuda")
torch.cuda.synchronize()
with torch.cuda.stream(side):
    torch.cuda._sleep(100_000_000)
    caches[:, 0] = 7
    copy_blocks(caches[0], caches[1], pairs, 1, 1, 8, 4096 * 4)
side.synchronize()
assert caches[:, 5].eq(7).all() and caches[:, 1:5].eq(0).all()
"""
    in_python(built, LOAD + code)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_files_with_the_same_names_stay_apart(built):
    """Would catch a linker that keeps one of two kernels of the same name: every second answer would be another's."""
    code = """
x = torch.zeros(1, device="cuda")
load("memory/raise_1.cu").raise_by_1(x, {"times": 10})
load("memory/raise_2.cu").raise_by_2(x, {"times": 100})
print(x.item())
"""
    assert in_python(built, LOAD + code) == "210.0\n"
