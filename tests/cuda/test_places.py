"""Files and machines as they are: odd paths, encodings, line ends, locales, and builds that are killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import yaie.cuda
from yaie.cuda.compiler import run

WRONG = "__global__ void k(float *x) {\n  x[threadIdx.x] = missing;\n}\n"
RACE = "__global__ void k(float *x) {\n  x[0] = threadIdx.x;\n  x[99] = 1;\n}\n"
LAUNCHER = 'extern "C" int launch(float *x) { k<<<1, 64>>>(x); return cudaGetLastError(); }\n'
ODD_NAMES = [
    "with space", 'with"quote', "it's", "a:12:3: error: b", "usr", "Ünïcødé", "日本", "per%cent {brace}", "back\\slash",
    "new#1", "$HOME", "-Wall", "(1)", "ends.cu",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_errors_and_findings_keep_the_place_in_any_path(name, tmp_path):
    """Would catch a path that a regular expression, a shell or a #line does not survive. One build for both: the header
    is found beside the file, and what is wrong in it is said in its name."""
    folder = tmp_path / name / "x"
    folder.mkdir(parents=True)
    file, header = folder / f"{name}.cu", folder / "part.cuh"
    header.write_text(WRONG, encoding="utf-8")
    file.write_text(f'#include "part.cuh"\n{LAUNCHER}', encoding="utf-8")
    with pytest.raises(yaie.cuda.CompileError, match="missing") as compile_error:
        yaie.cuda.load(file, backend="emulator")
    assert (compile_error.value.file, compile_error.value.line) == (str(header), 2)
    header.write_text(RACE.replace("x[0] = threadIdx.x;", ""), encoding="utf-8")
    with pytest.raises(yaie.cuda.KernelError) as error:
        yaie.cuda.load(file, backend="emulator").launch(torch.zeros(64))
    assert {(f.file, f.line) for f in error.value.findings} == {(str(header), 3)}


def test_a_file_below_usr_is_the_users(monkeypatch):
    """Would catch an error that loses its line because the project lies where systems keep their headers."""
    with pytest.raises(yaie.cuda.CompileError) as error:
        yaie.cuda.load(WRONG + LAUNCHER, path="/usr/local/src/mine/kernel.cu", backend="emulator")
    assert (error.value.file, error.value.line) == ("/usr/local/src/mine/kernel.cu", 2)


ENCODINGS = {
    "byte order mark": "\ufeff".encode() + f"// é\n{RACE}{LAUNCHER}".encode(),
    "Latin-1": f"// caf\xe9 \xb5s\n{RACE}{LAUNCHER}".encode("latin-1"),
    "CRLF": f"// x\n{RACE}{LAUNCHER}".replace("\n", "\r\n").encode(),
    "CR": f"// x\n{RACE}{LAUNCHER}".replace("\n", "\r").encode(),
    "no last line break": f"// x\n{RACE}{LAUNCHER}".rstrip().encode(),
    "form feeds": f"// x\f\v\x1c\n{RACE}{LAUNCHER}".encode(),
}


@pytest.mark.parametrize("kind", ENCODINGS)
def test_encodings_and_line_ends(kind, tmp_path):
    """Would catch a text that cannot be read, or whose lines are counted otherwise than the compiler counts them."""
    (tmp_path / "k.cu").write_bytes(ENCODINGS[kind])
    with pytest.raises(yaie.cuda.KernelError) as error:
        yaie.cuda.load(tmp_path / "k.cu", backend="emulator").launch(torch.zeros(64))
    out_of_bounds = [f for f in error.value.findings if f.kind == "out_of_bounds"]
    assert [f.line for f in out_of_bounds] == [4]
    assert "x[99] = 1;" in str(error.value)


def test_utf16_and_conflicts_are_named(tmp_path):
    """Would catch a screen of compiler errors for what is wrong with the file as such."""
    (tmp_path / "wide.cu").write_bytes((RACE + LAUNCHER).encode("utf-16"))
    with pytest.raises(yaie.cuda.CompileError, match=r"wide\.cu:1: the file is UTF-16"):
        yaie.cuda.load(tmp_path / "wide.cu", backend="emulator")
    conflict = "<<<<<<< HEAD\nint a;\n=======\nint b;\n>>>>>>> theirs\n"
    (tmp_path / "part.cuh").write_text(f"// ours\n{conflict}")
    with pytest.raises(yaie.cuda.CompileError, match=r"part\.cuh:2: `<<<<<<< HEAD` is a conflict marker"):
        yaie.cuda.load(f'#include "part.cuh"\n{RACE}{LAUNCHER}', path=tmp_path / "k.cu", backend="emulator")


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"}],
)
def test_locales(locale, tmp_path):
    """Would catch a file that is read in the locale's encoding, and a compiler's message that is not in English."""
    (tmp_path / "ü").mkdir()
    (tmp_path / "ü" / "k.cu").write_text(f"// grün\n{WRONG}{LAUNCHER}", encoding="utf-8")
    program = (
        "import sys, os, yaie.cuda\n"
        "try: yaie.cuda.load(os.path.join(os.listdir('.')[0], 'k.cu'), backend='emulator')\n"
        "except yaie.cuda.CompileError as e: sys.stdout.buffer.write(os.fsencode(f'{e.line} {e}'))\n"
    )
    environment = {**os.environ, **locale}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True)
    # g++, clang++
    said = r"3 k\.cu:3: ('missing' was not declared in this scope|use of undeclared identifier 'missing')"
    assert re.match(said, done.stdout.decode()), done.stderr.decode()


# ---- compilers end with whoever started them


def processes(directory: Path) -> list[int]:
    """Processes that work in a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == directory:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_compilers_end_with_their_process(how, tmp_path):
    """Would catch a compiler that goes on after Ctrl-C, or after its Python was killed: its children as well."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from yaie.cuda.compiler import run\n"
        f"run(['/bin/sh', '-c', 'sleep 600 & sleep 600'], Path({str(tmp_path)!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    assert wait_for(lambda: len(processes(tmp_path)) >= 3)
    parent.send_signal(how)
    parent.wait()
    assert wait_for(lambda: not processes(tmp_path))


def test_a_compiler_that_ends_leaves_nothing(tmp_path):
    """Would catch a guard that outlives the command it guards, and a result that is not the command's."""
    done = run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert wait_for(lambda: not processes(tmp_path))
