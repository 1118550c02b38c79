"""What happens inside the forked worker: the learner's file is put into the engine, run, and checked."""

from __future__ import annotations

import os
import resource
import traceback
from typing import Any

from yaie.course import cuda_exercises, expect, learner
from yaie.course.registry import Exercise, ExerciseFile, find_exercise


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the check of `job["exercise"]` with the functions `job["use"]` out of the file text `job["text"]`.

    `job["folder"]` is where the exercise files lie; errors name lines of the file there. `job["kernel_limit"]` is the
    number of seconds after which the emulator stops a call.

    Returns {"passed": True}, or how it failed: {"passed": False, "kind": ..., ...}, where the kind is "mismatch" (a
    wrong result), "error" (an exception), "import" (the file itself cannot be run), and for CUDA "compile" or "finding"
    (what the emulator saw a kernel do).
    """
    os.environ["YAIE_EXERCISES_DIR"] = job["folder"]
    exercise = find_exercise(job["exercise"])
    kind = "import"
    try:
        if exercise.is_cuda:
            _limit_kernels(job["kernel_limit"])
        learner.install(learner.load(exercise.file, job["text"]), exercise.file, job["use"])
        kind = "error"
        exercise.check()
    except expect.Mismatch as mismatch:
        return {
            "passed": False,
            "kind": "mismatch",
            "given": mismatch.given,
            "what": mismatch.what,
            "headline": mismatch.headline,
            "got": mismatch.got,
            "expected": mismatch.expected,
            "first_difference": mismatch.first_difference,
            "note": mismatch.note,
            **_place(mismatch.__cause__, exercise.file),
        }
    except BaseException as error:
        _lift_memory_limit()
        report = {
            "passed": False,
            "kind": kind,
            "given": expect.current_input,
            "error": type(error).__name__,
            "message": expect.shown(error, str, limit=500),
            "memory": isinstance(error, MemoryError) or "can't allocate memory" in expect.shown(error, str),
            **_place(error, exercise.file),
        }
        return {**report, **_cuda_report(error, exercise)} if exercise.is_cuda else report
    return {"passed": True}


def _limit_kernels(seconds: float) -> None:
    from yaie.kernels import native

    native.time_limit = seconds


def _cuda_report(error: BaseException, exercise: Exercise) -> dict[str, Any]:
    """What a compile error or the first finding of the emulator says; empty for any other error."""
    from yaie.cuda import CompileError, KernelError

    if isinstance(error, CompileError):
        return {"kind": "compile", "message": error.message, **_line(error.file, error.line, exercise.file)}
    if isinstance(error, KernelError):
        first = error.findings[0]
        title, *details = [line.strip() for line in first.text.split("\n")]
        place = _line(first.file, first.line, exercise.file)
        if place:
            del details[0]  # the line, which is shown anyway
        return {
            "kind": "finding",
            "error": first.kind,
            "what": title,
            "array": first.array if first.array in cuda_exercises.tensor_names(exercise) else "",
            "details": "\n".join(line for line in details if not line.startswith("likely cause: ")),
            "cause": first.cause[0].upper() + first.cause[1:],
            **place,
        }
    return {}


def _line(file: str | None, line: int | None, own: ExerciseFile) -> dict[str, Any]:
    """The line, where it is one of the learner's own file."""
    return {"line": line} if line and file == str(learner.exercise_path(own)) else {}


def _place(error: BaseException | None, file: ExerciseFile) -> dict[str, Any]:
    """The last line of the learner's own file that was on the way to the error; empty where there is none."""
    path = str(learner.exercise_path(file))
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    own = [frame for frame in frames if frame.filename == path]
    return {"line": own[-1].lineno, "code": own[-1].line} if own else {}


def _lift_memory_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
