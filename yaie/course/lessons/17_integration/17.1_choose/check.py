from __future__ import annotations

from typing import Any

from yaie.course.expect import expect, expect_error, given
from yaie.kernels import api


def _tables(refuses: bool = False) -> dict[str, dict[str, Any]]:
    """Backends whose functions say whose they are. The kernel of "cuda" refuses all arguments if told to."""

    def function_of(name: str) -> Any:
        def run(x: int, by: int = 1) -> str:
            if refuses and name == "cuda":
                raise api.BackendError("this kernel takes other arguments")
            return f"{name} got {x} and {by}"

        return run

    return {
        "torch": {"rope": function_of("torch"), "sample": function_of("torch")},
        "cuda": {"rope": function_of("cuda")},
        "emulator": {"rope": function_of("emulator")},
    }


CHOICES: tuple[tuple[str, str, bool, str], ...] = (
    # backend, operation, whether on a GPU, whose function it must be
    ("torch", "rope", False, "torch"),
    ("emulator", "rope", False, "emulator"),
    ("cuda", "rope", True, "cuda"),
    ("torch", "rope", True, "torch"),
    ("auto", "rope", False, "torch"),
    ("auto", "rope", True, "cuda"),
    ("auto", "sample", False, "torch"),
    ("auto", "sample", True, "torch"),
)


def check() -> None:
    for backend, operation, on_gpu, owner in CHOICES:
        with given(f"choose({backend!r}, {operation!r}, on_gpu={on_gpu}, tables)(5, by=2)"):
            got = api.choose(backend, operation, on_gpu, _tables())(5, by=2)
            expect(got, f"{owner} got 5 and 2", "answer of the chosen function")
    for backend, on_gpu in (("emulator", False), ("cuda", True)):
        with given(f"choose({backend!r}, 'sample', on_gpu={on_gpu}, tables)(5); only torch has 'sample'"):
            expect_error(
                lambda: api.choose(backend, "sample", on_gpu, _tables())(5),  # noqa: B023
                api.BackendError,
                "answer",
            )
    with given("choose('auto', 'rope', on_gpu=True, tables)(5); the kernel of 'cuda' raises BackendError"):
        got = api.choose("auto", "rope", True, _tables(refuses=True))(5)
        expect(got, "torch got 5 and 1", "answer of the chosen function")
    with given("choose('cuda', 'rope', on_gpu=True, tables)(5); the kernel of 'cuda' raises BackendError"):
        run = api.choose("cuda", "rope", True, _tables(refuses=True))
        expect_error(lambda: run(5), api.BackendError, "answer")
    with given("choose('auto', 'rope', on_gpu=True, tables)(5, 6, 7); the kernel raises TypeError"):
        tables = _tables()
        tables["torch"]["rope"] = lambda *args: "torch hides it"
        run = api.choose("auto", "rope", True, tables)
        expect_error(lambda: run(5, 6, 7), TypeError, "answer")
