"""CUDA as people publish it: what nvcc takes the emulator takes, with the right results and nothing to say about it in
check mode; what nvcc refuses it refuses too.

The files in tests/cuda/public_styles were written for this, in the styles of courses, samples, blogs and contest
solutions. The kinds, and their brothers: launches (after a label, `::`, in either arm of `?:`, in macros, over several
lines, of `(k)`, `table[i]`, `object.kernel`, in lambdas, in the arguments of launches; arguments that convert: NULL, 0,
braces, numbers), kernels (attributes in any order, defined or headed by macros, unnamed parameters, packs,
specialisations, `extern "C"`, in headers), `__shared__` (before and after the type, extern, at file scope, with a body,
several names, aligned, in macros and templates), host variables with the names of built-ins, headers of the standard
library, 16-bit types, atomics, warp functions, constants, cooperative groups, the runtime's functions.
"""

import re
import subprocess
from pathlib import Path

import pytest
import torch

import yaie.cuda
from tests.cuda.test_right import Case, names, read_cases

HERE = Path(__file__).parent / "public_styles"
FILES = sorted(HERE.glob("*.cu"))
CASES = [case for file in FILES for case in read_cases(file)]
NVCC = ["-std=c++17", "--extended-lambda", "-arch=sm_90", "-cuda", "-o", "/dev/null"]
needs_nvcc = pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="nvcc is not installed")


def scope() -> dict:
    generator = torch.Generator().manual_seed(5)

    def small(*shape: int) -> torch.Tensor:
        """Whole numbers and halves, which 16-bit types hold and multiply exactly."""
        return torch.randint(-4, 5, shape, generator=generator) / 2

    return {
        **names(),
        "f": lambda *shape: torch.randn(*shape, generator=generator),
        "i": lambda values: torch.tensor(values, dtype=torch.int32),
        "ints": lambda n, below: torch.randint(below, (n,), generator=generator, dtype=torch.int32),
        "h": lambda *shape: small(*shape).half(),
        "b": lambda *shape: small(*shape).bfloat16(),
        "h1": torch.tensor(1.0, dtype=torch.float16),
        "h2": torch.tensor(2.0, dtype=torch.float16),
        "zeros_h": lambda n: torch.zeros(n, dtype=torch.float16),
    }


def test_corpus_is_large_enough():
    """Would catch a corpus that shrinks, or a file that is no longer read."""
    kernels = sum(len(re.findall(r"\b__global__\b", file.read_text())) for file in FILES)
    assert len(CASES) >= 80
    assert kernels >= 80


@pytest.mark.parametrize("check", [True, False], ids=["check", "fast"])
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_results(file: Path, check: bool):
    """Would catch a form that is read wrongly, an emulated function that computes something else, and a false alarm."""
    module = yaie.cuda.load(file, backend="emulator", check=check)
    wrong = [f"{case.launcher}: {problem}" for case in read_cases(file) if (problem := run(module, case))]
    assert not wrong, "\n".join(wrong)


def run(module: yaie.cuda.Module, case: Case) -> str:
    """What is wrong with a call; nothing if it gave what was wanted."""
    known = scope()
    text = re.sub(r"\b(in|is|lambda|from)=", r"\1_=", case.arguments)  # keywords of Python take an underscore
    arguments = eval(f"dict({text})", known)
    known |= {**arguments, "x0": arguments["x"].clone() if "x" in arguments else None}
    parts = [part.split("=", 1) for part in re.sub(r"\b(is) =", r"\1_ =", case.want).split("; ")]
    wanted = {name.strip(): eval(expression, known) for name, expression in parts}
    try:
        getattr(module, case.launcher)(**arguments)
        for name, value in wanted.items():
            torch.testing.assert_close(arguments[name], value, rtol=case.tolerance, atol=case.tolerance)
    except (yaie.cuda.KernelError, AssertionError, TypeError) as error:
        return str(error)
    return ""


@needs_nvcc
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_nvcc_takes_it(file: Path):
    """Would catch a corpus of CUDA that is none."""
    done = subprocess.run([yaie.cuda.find_nvcc(), *NVCC, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


REFUSED = sorted((HERE / "refused").glob("*.cu"))


@pytest.mark.parametrize("file", REFUSED, ids=lambda f: f.stem)
def test_what_nvcc_refuses_is_refused(file: Path):
    """Would catch code that runs here and does not compile for a card, and an error that names another line."""
    text = file.read_text()
    with pytest.raises(yaie.cuda.CompileError) as caught:
        yaie.cuda.load(file, backend="emulator")
    assert text.splitlines()[0].removeprefix("// says: ") in str(caught.value)
    here = 1 + text[: text.index("// HERE")].count("\n")
    assert str(caught.value).startswith(f"{file.name}:{here}: ")
    assert (caught.value.file, caught.value.line) == (str(file), here)


def in_one_file(files: list[Path]) -> str:
    """Each file in a namespace of its own, under its own name; what they include comes before."""
    includes, parts = [], []
    for file in files:
        text = file.read_text()
        includes += re.findall(r"^#include.*", text, re.M)
        text = re.sub(r"^#include.*", "", text, flags=re.M).replace(" launcher(", f" launcher_{file.stem}(")
        parts.append(f'namespace refused_{file.stem} {{\n#line 1 "{file}"\n{text}\n}}')
    return "\n".join([*includes, *parts, ""])


@needs_nvcc
def test_nvcc_refuses_them(tmp_path):
    """Would catch a rule that nvcc does not have. In few runs, for each costs a second: it stops after a step with
    errors, so the files that it has named are taken out, and it is asked about the others again."""
    left = {file for file in REFUSED if (text := file.read_text()).count("{") == text.count("}")}
    assert len(left) >= len(REFUSED) - 1
    while left:
        (tmp_path / "all.cu").write_text(in_one_file(sorted(left)))
        command = [yaie.cuda.find_nvcc(), *NVCC, str(tmp_path / "all.cu")]
        errors = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stderr
        named = {Path(name) for name in re.findall(r"^(.+?)\(\d+\): error", errors, re.M)}
        assert named & left, f"nvcc takes {sorted(f.stem for f in left)}:\n{errors}"
        left -= named
