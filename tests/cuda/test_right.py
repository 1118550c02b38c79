"""Right kernels of many styles: the results are those of torch, and check mode has nothing to say.

A case in tests/cuda/right is `// call: launcher(name=value, ...)`, `// want: name = expression; ...` over the
arguments, and perhaps `// tolerance: number`.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import yaie.cuda
from yaie.cuda.emulated.build import COMPILER_CANDIDATES, compiler_version

HERE = Path(__file__).parent


def two_compilers() -> list[str]:
    """Two that differ: "g++" and "g++-12" are often one. Without any an error, and no skipped tests."""
    found: dict[str, str] = {}
    for name in filter(shutil.which, COMPILER_CANDIDATES):
        found.setdefault(compiler_version(name).partition(" ")[2], name)
    return list(found.values())[:2] or [yaie.cuda.find_compiler()]


COMPILERS = two_compilers()


@dataclass(frozen=True)
class Case:
    file: Path
    launcher: str
    arguments: str
    want: str
    tolerance: float


def read_cases(file: Path) -> list[Case]:
    text = file.read_text()
    found = re.finditer(r"^// call: (\w+)\((.*)\)\n// want: (.*)\n(?:// tolerance: (.*)\n)?", text, re.M)
    return [Case(file, m[1], m[2], m[3], float(m[4] or 0)) for m in found]


CASES = [case for file in sorted((HERE / "right").glob("*.cu")) for case in read_cases(file)]


def scatter(cache: torch.Tensor, slots: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    flat = cache.clone().view(-1, *cache.shape[2:])
    flat[slots] = rows
    return flat.view_as(cache)


def names() -> dict:
    generator = torch.Generator().manual_seed(2)
    return {
        "torch": torch,
        "F": torch.nn.functional,
        "scatter": scatter,
        "randn": lambda *shape: torch.randn(*shape, generator=generator),
        "randn_h": lambda *shape: torch.randn(*shape, generator=generator).half(),
        "randn_b": lambda *shape: torch.randn(*shape, generator=generator).bfloat16(),
        "zeros": torch.zeros,
        "zeros_i": lambda *shape: torch.zeros(*shape, dtype=torch.int32),
        "zeros_d": lambda n: torch.zeros(n, dtype=torch.float64),
        "ints": lambda n, below: (
            torch.randint(below, (n,), generator=generator, dtype=torch.int32)
            if below != 5
            else torch.arange(n, dtype=torch.int32) % below
        ),
    }


def test_corpus_is_large_enough():
    """Would catch a corpus that shrinks, or a file that is no longer read."""
    assert len(CASES) >= 20


@pytest.mark.parametrize("check", [True, False], ids=["check", "fast"])
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.launcher)
def test_result(case, compiler, check):
    """Would catch a false alarm, and an emulated function that computes something else than the card does."""
    module = yaie.cuda.load(case.file, backend="emulator", compiler=compiler, check=check)
    arguments = eval(f"dict({case.arguments})", names())
    scope = {**names(), **arguments}
    wanted = {part.split("=", 1)[0].strip(): eval(part.split("=", 1)[1], scope) for part in case.want.split(";")}
    getattr(module, case.launcher)(**arguments)
    for name, value in wanted.items():
        torch.testing.assert_close(arguments[name], value, rtol=case.tolerance, atol=case.tolerance)
