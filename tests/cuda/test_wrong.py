"""Every wrong kernel of tests/cuda/wrong gives the finding that its comment promises, with either compiler.

A case in those files is `// expect: KIND [ARRAY]`, `// call: launcher(arguments)` and the code; the lines that the
finding must name carry `// HERE` and `// OTHER` (`// AND` may be named too, by a second finding). `// because:` a part
of the cause, where that is computed. `// g++ only:` what clang++ before version 20 does not report: accesses of a
thread to an array of its own, by an index.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import yaie.cuda
from tests.cuda.test_right import COMPILERS
from yaie.cuda.emulated.build import is_clang

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    file: Path
    kind: str
    array: str | None
    call: str
    here: frozenset[int]
    other: frozenset[int]
    allowed: frozenset[int]
    gcc_only: bool
    because: str


def read_cases(file: Path) -> list[Case]:
    lines = file.read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("// expect:")]
    cases = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        marks = {
            mark: frozenset(i + 1 for i in range(start, end) if f"// {mark}" in lines[i])
            for mark in ("HERE", "OTHER", "AND")
        }
        kind, _, array = lines[start].removeprefix("// expect:").strip().partition(" ")
        gcc_only = any(line.startswith("// g++ only") for line in lines[start:end])
        call = next(line for line in lines[start:end] if line.startswith("// call:")).removeprefix("// call:").strip()
        because = next((line[12:].strip() for line in lines[start:end] if line.startswith("// because:")), "")
        lines_of = marks["HERE"], marks["OTHER"], marks["AND"]
        cases.append(Case(file, kind, array or None, call, *lines_of, gcc_only, because))
    return cases


CASES = [case for file in sorted((HERE / "wrong").glob("*.cu")) for case in read_cases(file)]
MAKERS = {
    "randn": lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(1)),
    "randn_h": lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(1)).half(),
    "zeros": torch.zeros,
    "zeros_i": lambda n: torch.zeros(n, dtype=torch.int32),
    "zeros_b": lambda n: torch.zeros(n, dtype=torch.uint8),
    "zeros_h": lambda *shape: torch.zeros(*shape, dtype=torch.float16),
    "ints": lambda n, below: torch.arange(n, dtype=torch.int32) % below,
}


def run(module: yaie.cuda.Module, call: str) -> list[yaie.cuda.Finding]:
    """The findings of a call written as in the files."""
    launchers = {name: getattr(module, name) for name in module.launchers}
    with pytest.raises(yaie.cuda.KernelError) as caught:
        eval(call, {**MAKERS, **launchers})
    return caught.value.findings


def test_corpus_is_large_enough():
    """Would catch a corpus that shrinks, or a file that is no longer read."""
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    ("case", "compiler"),
    [(case, each) for case in CASES for each in COMPILERS if not (case.gcc_only and is_clang(each))],
    ids=lambda x: x if isinstance(x, str) else x.call.split("(")[0],
)
def test_finding(case, compiler):
    """Would catch a check that misses its bug, names the wrong line or array, or adds findings of another kind."""
    module = yaie.cuda.load(case.file, backend="emulator", compiler=compiler, time_limit=0.7)
    findings = run(module, case.call)
    assert {f.kind for f in findings} == {case.kind}, [f.text for f in findings]
    assert case.array is None or case.array in {f.array for f in findings}
    assert all(f.file == str(case.file) for f in findings)
    named = {line for f in findings for line in (f.line, f.other_line) if line}
    assert named & case.here, (named, [f.text for f in findings])
    assert case.kind == "stack_overflow" or case.here <= named
    assert named <= case.here | case.other | case.allowed, (named, [f.text for f in findings])
    if case.kind in ("tma_not_waited", "refilled"):  # who should have waited comes first
        assert {f.line for f in findings if f.other_line} <= case.here, [f.text for f in findings]
    assert all(f.cause and Path(f.file).name in f.text for f in findings)
    assert case.because in findings[0].cause


def test_reports_are_the_same_on_every_run():
    """Would catch findings that depend on time, on addresses or on what ran before."""
    for file in sorted({case.file for case in CASES}):
        module = yaie.cuda.load(file, backend="emulator", time_limit=0.7)
        calls = [c.call for c in CASES if c.file == file and c.kind != "endless_loop"]
        first = [[f.text for f in run(module, call)] for call in calls]
        again = [[f.text for f in run(module, call)] for call in calls]
        assert first == again


def test_the_two_compilers_agree():
    """Would catch a finding that comes from one compiler's code and not from the kernel."""
    if len(COMPILERS) < 2:
        pytest.skip("only one C++ compiler is installed")
    file = HERE / "wrong" / "races_in_a_block.cu"
    texts = []
    for compiler in COMPILERS:
        module = yaie.cuda.load(file, backend="emulator", compiler=compiler)
        texts.append([f.text for c in CASES if c.file == file for f in run(module, c.call)])
    assert [re.sub(r"\[seen.*", "", t) for t in texts[0]] == [re.sub(r"\[seen.*", "", t) for t in texts[1]]


def test_tensors_are_left_alone_when_a_kernel_fails():
    """Would catch half-written results of a failed call."""
    module = yaie.cuda.load(HERE / "wrong" / "bounds.cu", backend="emulator")
    y = torch.full((1000,), 7.0)
    with pytest.raises(yaie.cuda.KernelError):
        module.no_guard(torch.randn(1000), y)
    assert torch.equal(y, torch.full((1000,), 7.0))


def test_a_null_pointer_is_not_called_a_missing_guard():
    """Would catch advice that sends a learner to the bounds of a tensor that was never there."""
    module = yaie.cuda.load(HERE / "wrong" / "bounds.cu", backend="emulator")
    (null,) = run(module, "null_pointer(None, zeros(8))")
    (beyond,) = run(module, "no_guard(randn(1000), zeros(1000))")[:1]
    assert "never set" in null.cause
    assert "guard" in beyond.cause


def test_a_launcher_that_returns_0_after_a_refused_launch_is_named(tmp_path):
    """Would catch an emulator that lets a launcher keep an error to itself: on a card nobody would notice."""
    path = tmp_path / "quiet.cu"
    kernel = "#include <cuda_runtime.h>\n__global__ void k(float* y) { y[threadIdx.x] = 1.0f; }\n"
    for returned, kinds in (("0", ["bad_launch", "error_ignored"]), ("cudaGetLastError()", ["bad_launch"])):
        launcher = f'extern "C" int quiet(float* y) {{ k<<<1, 2048>>>(y); return {returned}; }}\n'
        path.write_text(kernel + launcher)
        assert [finding.kind for finding in run(yaie.cuda.load(path, backend="emulator"), "quiet(zeros(1))")] == kinds
