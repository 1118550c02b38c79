from __future__ import annotations

from yaie.course.expect import Mismatch, expect, expect_error, given
from yaie.kernels import ops

NO_NVCC = "nvcc was not found"

CHOICES: tuple[tuple[str, bool, dict[str, str], str], ...] = (
    # backend, whether on a GPU, what is in the way of whom, the answer
    ("auto", False, {}, "torch"),
    ("auto", True, {}, "cuda"),
    ("auto", True, {"cuda": NO_NVCC}, "torch"),
    ("auto", False, {"cuda": NO_NVCC, "emulator": "no compiler"}, "torch"),
    ("auto", True, {"cuda": NO_NVCC, "emulator": "no compiler"}, "torch"),
    ("torch", False, {"cuda": NO_NVCC}, "torch"),
    ("torch", True, {}, "torch"),
    ("cuda", True, {"emulator": "no compiler"}, "cuda"),
    ("emulator", False, {"cuda": NO_NVCC}, "emulator"),
)

REFUSALS: tuple[tuple[str, bool, dict[str, str], type[Exception]], ...] = (
    ("cuda", True, {"cuda": NO_NVCC}, ops.BackendError),
    ("emulator", False, {"emulator": "no compiler"}, ops.BackendError),
    ("cuda", False, {}, ops.BackendError),
    ("emulator", True, {}, ops.BackendError),
    ("gpu", True, {}, ValueError),
    ("Auto", False, {}, ValueError),
    ("CUDA", True, {}, ValueError),
)


def check() -> None:
    for backend, on_gpu, obstacles, answer in CHOICES:
        with given(_call(backend, on_gpu, obstacles)):
            asked: list[str] = []
            note = _rule(backend, on_gpu, "cuda" in obstacles)
            expect(ops.resolve(backend, on_gpu, _asker(obstacles, asked)), answer, "backend", note=note)
            allowed = {"auto": ["cuda"] if on_gpu else []}.get(backend, [backend])
            _check_questions(asked, allowed)
    for backend, on_gpu, obstacles, error in REFUSALS:
        with given(_call(backend, on_gpu, obstacles)):
            asked = []
            note = _rule(backend, on_gpu, "cuda" in obstacles)
            call = lambda: ops.resolve(backend, on_gpu, _asker(obstacles, asked))  # noqa: B023, E731
            expect_error(call, error, "answer", note=note)
            _check_questions(asked, [backend] if backend in ops.BACKENDS else [])
            if reason := obstacles.get(backend):
                _check_message(backend, on_gpu, obstacles, reason)


def _rule(backend: str, on_gpu: bool, cuda_has_one: bool) -> str:
    """What decides in such a call."""
    if backend not in ("auto", *ops.BACKENDS):
        return f"There is no backend {backend!r}: the caller has made a mistake, which is a ValueError."
    if backend == "auto":
        here = "something is" if cuda_has_one else "nothing is"
        return f'"auto" is "torch" on the CPU. On a GPU it is "cuda", unless something is in its way. Here {here}.'
    if backend == "torch":
        return "torch computes wherever the tensors are."
    if on_gpu != (backend == "cuda"):
        return f"The kernels of {backend} cannot take tensors {'on a GPU' if on_gpu else 'on the CPU'}: a BackendError."
    return "What is asked for by its name computes, or, with an obstacle, there is a BackendError."


def _call(backend: str, on_gpu: bool, obstacles: dict[str, str]) -> str:
    texts = ", ".join(f"{reason!r} for {name!r}" for name, reason in obstacles.items())
    return f"resolve({backend!r}, {on_gpu}, obstacle); obstacle gives {texts + ', else ' if texts else ''}None"


def _asker(obstacles: dict[str, str], asked: list[str]):
    def obstacle(name: str) -> str | None:
        asked.append(name)
        return obstacles.get(name)

    return obstacle


def _check_questions(asked: list[str], allowed: list[str]) -> None:
    in_vain = [name for name in asked if name not in allowed]
    expect(in_vain, [], "list of backends that `obstacle` was asked about for nothing")
    if len(asked) > 1:
        expect(len(asked), 1, "number of times that `obstacle` was asked")


def _check_message(backend: str, on_gpu: bool, obstacles: dict[str, str], reason: str) -> None:
    try:
        ops.resolve(backend, on_gpu, obstacles.get)
    except ops.BackendError as error:
        if reason not in str(error):
            raise Mismatch("message of the error", str(error), f"a sentence with {reason!r}", "", "") from None
