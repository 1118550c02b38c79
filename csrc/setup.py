"""Builds every kernel of csrc/ into the Python module `yaie_kernels`, ahead of time:

    pip install ./csrc                                        # for the GPU of this machine
    TORCH_CUDA_ARCH_LIST="8.0;9.0a;12.0" pip install ./csrc   # for these architectures; needs no GPU

It needs nvcc and pybind11, and no torch. Without `yaie_kernels` the engine builds each file when it first needs it; it
takes a kernel from `yaie_kernels` only if that was built from the text which the file has now.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CSRC = Path(__file__).resolve().parent
INCLUDE = CSRC.parent / "yaie" / "cuda" / "include"  # yaie_ptx.cuh
FLAGS = ["-std=c++17", "-O3", "-lineinfo", "--extended-lambda", "-Xcompiler", "-fPIC"]
LAUNCHER = re.compile(r'^extern "C" int (\w+)\(([^)]*)\) \{', re.MULTILINE)


def sources() -> list[Path]:
    return sorted(CSRC.glob("*/*.cu"))


def name_of(source: Path) -> str:
    """How files of csrc/ are called here and in `native.module`: "memory/copy_blocks.cu"."""
    return source.relative_to(CSRC).as_posix()


def own_files(source: Path) -> list[Path]:
    """A file and the headers of ours that it includes, directly or not."""
    files = [source]
    for file in files:  # grows while it is walked
        for name in re.findall(r'^#include "(.+)"', file.read_text(), re.MULTILINE):
            header = next((folder / name for folder in (file.parent, INCLUDE) if (folder / name).is_file()), None)
            if header and header.resolve() not in files:
                files.append(header.resolve())
    return files


def source_hash(source: Path) -> str:
    """Of a file and of its headers."""
    return hashlib.sha256("".join(file.read_text() for file in own_files(source)).encode()).hexdigest()[:20]


def launchers(source: Path) -> list[tuple[str, str, list[str]]]:
    """Name, parameters as written, and the parameters' names of each launcher that a file defines."""
    found = LAUNCHER.findall(source.read_text())
    return [
        (name, " ".join(text.split()), [part.split()[-1].lstrip("*&") for part in text.split(",")])
        for name, text in found
    ]


def launchers_inc(files: list[Path]) -> str:
    """What bindings.cpp includes twice: first the declarations, then one `bind` for each."""
    declarations, bindings = [], []
    for source in files:
        bindings.append(f'sources["{name_of(source)}"] = "{source_hash(source)}";')
        for name, parameters, names in launchers(source):
            arguments = "".join(
                f', py::arg("{each}")' + (" = py::none()" if each == "stream" else "") for each in names
            )
            declarations.append(f'extern "C" int {name}({parameters});')
            bindings.append(f'bind(module, "{name}", {name}{arguments});')
    return "\n".join(["#ifdef YAIE_DECLARATIONS", *declarations, "#else", *bindings, "#endif", ""])


def wrapper(source: Path) -> str:
    """A file, with its headers, in a namespace of its own, so that a name in two files stays two things.

    Launchers are extern "C" and keep their names. What is included from elsewhere must come before the namespace.
    """
    includes = [
        include
        for file in own_files(source)
        for include in re.findall(r"^#include <.+>", file.read_text(), re.MULTILINE)
    ]
    space = re.sub(r"\W", "_", name_of(source).removesuffix(".cu"))
    lines = [*dict.fromkeys(includes), f"namespace yaie_{space} {{", f'#include "{source}"', "}", ""]
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


def runs_on(archs: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build for ["8.0", "9.0a", "12.0+PTX"] runs on a card: code for an older minor number of the same major
    one does, code with a letter on its own card only, PTX on all later cards."""
    for arch in archs:
        number = arch.removesuffix("+PTX").rstrip("af")
        major, minor = map(int, number.split("."))
        if (major, minor) == capability or (arch == f"{number}+PTX" and (major, minor) <= capability):
            return True
        if arch.removesuffix("+PTX") == number and major == capability[0] and minor <= capability[1]:
            return True
    return False


def find_nvcc() -> str:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")
    if not nvcc:
        sys.exit(
            "yaie_kernels: nvcc was not found, and without it no kernel can be built. Install the CUDA toolkit and put "
            "nvcc on the PATH, or set CUDA_HOME. (The course itself needs neither: its kernels run in the emulator.)"
        )
    return nvcc


def build(target: Path, files: list[Path], archs: list[str], pybind_include: str) -> None:
    """Compile the files and the bindings, several at a time, and link them into the shared library `target`."""
    nvcc = find_nvcc()
    with tempfile.TemporaryDirectory(prefix="yaie-kernels-") as temporary:
        work = Path(temporary)
        (work / "launchers.inc").write_text(launchers_inc(files))
        commands = []
        for source in files:
            stem = name_of(source).replace("/", "-").removesuffix(".cu")
            (work / f"{stem}.cu").write_text(wrapper(source))
            include = ["-I", source.parent, "-I", INCLUDE]
            commands.append([nvcc, *FLAGS, *arch_flags(archs), *include, "-c", f"{stem}.cu", "-o", f"{stem}.o"])
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
