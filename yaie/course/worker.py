"""What happens inside the forked worker: the learner's file is put into the engine, run, and checked."""

from __future__ import annotations

import os
import resource
import traceback
from dataclasses import asdict
from typing import Any

from yaie.course import expect
from yaie.course.files import exercise_path
from yaie.course.language import engine_seam
from yaie.course.registry import Exercise, ExerciseFile, find_exercise


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the check of `job["exercise"]` with the functions `job["use"]` out of the file text `job["text"]`.

    `job["folder"]` is where the exercise files lie; errors name lines of the file there. `job["call_limit"]` is the
    number of seconds after which the emulator stops a call. With `job["every"]` the check goes on after an input that
    goes wrong.

    Returns {"passed": True, "score": what the check counted}, or how it failed: {"passed": False, "kind": ..., ...},
    where the kind is "mismatch" (a wrong result), "error" (an exception), "import" (the file itself cannot be run),
    "compile" (it does not compile) or "finding" (what the emulator saw a kernel do). "failures" are the reports of all
    inputs that went wrong.
    """
    os.environ["YAIE_EXERCISES_DIR"] = job["folder"]
    exercise = find_exercise(job["exercise"])
    kind, failures, score = "import", [], None  # the reports

    def go_on(error: Exception) -> None:
        failures.append(_report(exercise, error, "error"))
        if failures[-1]["error"] == "endless_loop":  # nobody should wait for another one
            raise error

    expect.go_on = go_on if job["every"] else None
    try:
        engine_seam.limit_calls(job["call_limit"])
        exercise.language.install(exercise.file, job["text"], job["use"])
        kind = "error"
        score = exercise.check()
    except BaseException as error:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # the report needs memory
        failures.append(_report(exercise, error, kind))
    return {"passed": not failures, "score": score, **(failures[0] if failures else {}), "failures": failures}


def _report(exercise: Exercise, error: BaseException, kind: str) -> dict[str, Any]:
    if isinstance(error, expect.Mismatch):
        return {"kind": "mismatch", "error": "", **asdict(error), **_place(error.__cause__, exercise.file)}
    message = expect.shown(error, str, limit=500)
    return {
        "kind": kind,
        "given": expect.current_input,
        "error": type(error).__name__,
        "message": message,
        "memory": isinstance(error, MemoryError) or "can't allocate memory" in message,
        **_place(error, exercise.file),
        **exercise.language.report(exercise, error),
    }


def _place(error: BaseException | None, file: ExerciseFile) -> dict[str, Any]:
    """The last line of the learner's own file that was on the way to the error; empty where there is none."""
    path = str(exercise_path(file))
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    own = [frame for frame in frames if frame.filename == path]
    return {"line": own[-1].lineno, "code": own[-1].line} if own else {}
