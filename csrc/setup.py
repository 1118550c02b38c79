"""Builds every kernel of csrc/ into the Python module `yaie_kernels`, ahead of time:

    pip install ./csrc                                        # for the GPU of this machine
    TORCH_CUDA_ARCH_LIST="8.0;9.0a;12.0" pip install ./csrc   # for these architectures; needs no GPU

It needs nvcc and pybind11, and no torch. Without `yaie_kernels` each file is built when it is first loaded; launchers
are taken from `yaie_kernels` only if it was built from the text that the file has now (yaie/cuda/card/prebuilt.py).
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CSRC = Path(__file__).resolve().parent
CUDA = CSRC.parent / "yaie" / "cuda"


def part_of_cuda(name: str) -> types.ModuleType:
    """A module of yaie/cuda that needs no torch, without importing `yaie.cuda`, which does."""
    package = types.ModuleType("yaie_cuda")
    package.__path__ = [str(CUDA)]
    sys.modules.setdefault(package.__name__, package)
    return importlib.import_module(f"yaie_cuda.{name}")


source_of, launchers_of, nvcc_of = part_of_cuda("source"), part_of_cuda("launchers"), part_of_cuda("card.nvcc")


def sources() -> list[Path]:
    return sorted(CSRC.glob("*/*.cu"))


def name_of(source: Path) -> str:
    """How files of csrc/ are called here and in the engine: "memory/copy_blocks.cu"."""
    return source.relative_to(CSRC).as_posix()


def launchers_inc(files: list[Path]) -> str:
    """What bindings.cpp includes: a line for each file and for each launcher."""
    lines = []
    for path in files:
        source = source_of.read_source(path)
        lines.append(f'YAIE_FILE("{name_of(path)}", "{source.fingerprint()}")')
        found = launchers_of.find_launchers(source.text, path)
        lines += [f"YAIE_LAUNCHER({launcher.name})" for launcher in found]
    return "\n".join([*lines, ""])


def wrapper(path: Path) -> str:
    """A file, with its headers, in a namespace of its own, so that a name in two files stays two things.

    Launchers are extern "C" and keep their names. What is included from elsewhere must come before the namespace.
    """
    source = source_of.read_source(path)
    texts = [source.text, *source.headers().values()]
    includes = [include for text in texts for include in re.findall(r"^#include <.+>", text, re.MULTILINE)]
    space = re.sub(r"\W", "_", name_of(path).removesuffix(".cu"))
    checks = launchers_of.layout_checks(launchers_of.find_launchers(source.text, path))
    lines = [*dict.fromkeys(includes), f"namespace yaie_{space} {{", f'#include "{path}"{checks}', "}", ""]
    return "\n".join(lines)


def architectures() -> list[str]:
    """From TORCH_CUDA_ARCH_LIST ("8.0;9.0a;12.0+PTX"), else the GPU's own. Ends the build where there is neither."""
    listed = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(",", ";").replace(" ", ";")
    if found := [each for each in listed.split(";") if each]:
        return found
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        answer = []
    if not answer:
        sys.exit(
            "yaie_kernels: there is no GPU here, so I do not know which architecture to build for. Name them: "
            'TORCH_CUDA_ARCH_LIST="8.0;9.0a;12.0" pip install ./csrc'
        )
    return sorted({each + ("a" if float(each) >= 9 else "") for each in answer})  # "a": wgmma and TMA


def architectures_by_file(files: list[Path], archs: list[str]) -> dict[Path, list[str]]:
    """What each file is built for; names those that are for none of `archs`, and leaves them out."""
    hopper = [arch for arch in archs if arch.removesuffix("+PTX") == nvcc_of.HOPPER]
    for_hopper = {path for path in files if nvcc_of.needs_hopper(source_of.read_source(path).headers())}
    if for_hopper and not hopper:
        names = ", ".join(sorted(map(name_of, for_hopper)))
        print(f"yaie_kernels: left out, for they are for {nvcc_of.HOPPER} alone: {names}")
    by_file = {path: hopper if path in for_hopper else archs for path in files}
    return {path: its for path, its in by_file.items() if its}


def arch_flags(archs: list[str]) -> list[str]:
    """nvcc's options for ["8.0", "9.0a", "12.0+PTX"]: machine code for each, PTX only where it is asked for."""
    flags = []
    for arch in archs:
        number = arch.removesuffix("+PTX").replace(".", "")
        if not re.fullmatch(r"\d+[af]?", number):
            sys.exit(
                f"yaie_kernels: TORCH_CUDA_ARCH_LIST names {arch!r}, which is not of the form 8.0, 9.0a or 12.0+PTX"
            )
        flags += ["-gencode", f"arch=compute_{number},code=sm_{number}"]
        if arch.endswith("+PTX"):
            flags += ["-gencode", f"arch=compute_{number},code=compute_{number}"]
    return flags


def build(target: Path, files: list[Path], archs: list[str], pybind_include: str) -> None:
    """Compile the files and the bindings, several at a time, and link them into the shared library `target`."""
    nvcc = nvcc_of.find_nvcc()
    if not nvcc:
        sys.exit(
            "yaie_kernels: nvcc was not found, and without it no kernel can be built. Install the CUDA toolkit and put "
            "nvcc on the PATH, or set CUDA_HOME. (Without it the kernels run in the emulator of yaie.cuda.)"
        )
    built_for = architectures_by_file(files, archs)
    with tempfile.TemporaryDirectory(prefix="yaie-kernels-") as temporary:
        work = Path(temporary)
        (work / "launchers.inc").write_text(launchers_inc(list(built_for)))
        commands = []
        for source, its_archs in built_for.items():
            stem = name_of(source).replace("/", "-").removesuffix(".cu")
            (work / f"{stem}.cu").write_text(wrapper(source))
            flags = [*nvcc_of.FLAGS, "-O3", "-Xcompiler", "-fPIC", *arch_flags(its_archs)]
            include = ["-I", source.parent, "-I", source_of.INCLUDE]
            commands.append([nvcc, *flags, *include, "-c", f"{stem}.cu", "-o", f"{stem}.o"])
        include = ["-I", work, "-I", sysconfig.get_paths()["include"], "-I", pybind_include]
        define = f'-DYAIE_ARCHITECTURES="{";".join(archs)}"'.replace('"', '\\"')
        flags = ["-std=c++17", "-O2", "-Xcompiler", "-fPIC,-fvisibility=hidden", define]
        commands.append([nvcc, *flags, *include, "-c", CSRC / "bindings.cpp", "-o", "bindings.o"])

        def run(command: list) -> None:
            done = subprocess.run(list(map(str, command)), cwd=work, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"yaie_kernels: this failed:\n{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, commands))
        objects = [command[-1] for command in commands]
        target.parent.mkdir(parents=True, exist_ok=True)
        run([nvcc, "-shared", *arch_flags(archs), *objects, "-o", target.resolve()])


if __name__ == "__main__":
    import pybind11
    from setuptools import Extension, setup
    from setuptools.command.build_ext import build_ext

    class BuildWithNvcc(build_ext):
        def build_extension(self, extension: Extension) -> None:
            target = Path(self.get_ext_fullpath(extension.name))
            build(target, sources(), architectures(), pybind11.get_include())

    setup(
        name="yaie_kernels",
        version="0.1.0",
        description="The CUDA kernels of YAIE, built ahead of time",
        ext_modules=[Extension("yaie_kernels", [name_of(source) for source in sources()])],
        cmdclass={"build_ext": BuildWithNvcc},
    )
