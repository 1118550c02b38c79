"""What happens inside the forked worker: the learner's file is run, put into the engine, and checked."""

from __future__ import annotations

import os
import traceback
from typing import Any

from yaie.course import expect, learner
from yaie.course.registry import find_exercise


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the check of `job["exercise"]` with the functions `job["use"]` out of the file text `job["text"]`.

    `job["folder"]` is where the exercise files lie; errors name lines of the file there.

    Returns {"passed": True}, or how it failed: {"passed": False, "kind": "mismatch" | "error" | "import", ...}.
    """
    os.environ["YAIE_EXERCISES_DIR"] = job["folder"]
    exercise = find_exercise(job["exercise"])
    try:
        module = learner.load(exercise.lesson, job["text"])
    except BaseException as error:
        return {"passed": False, "kind": "import", **_error(error, exercise.lesson)}
    learner.install(module, exercise.lesson, job["use"])
    try:
        exercise.check()
    except expect.Mismatch as mismatch:
        return {
            "passed": False,
            "kind": "mismatch",
            "given": mismatch.given,
            "what": mismatch.what,
            "got": repr(mismatch.got),
            "expected": repr(mismatch.expected),
            "first_difference": mismatch.first_difference,
            "note": mismatch.note,
        }
    except BaseException as error:
        return {
            "passed": False,
            "kind": "error",
            "given": expect.current_input,
            **_error(error, exercise.lesson),
        }
    return {"passed": True}


def _error(error: BaseException, lesson: Any) -> dict[str, Any]:
    """The error's type and text, and the last line of the learner's own file that was on the way to it."""
    path = str(learner.exercise_path(lesson))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    return {
        "error": type(error).__name__,
        "message": str(error)[:500],
        "memory": memory,
        "line": frames[-1].lineno if frames else None,
        "code": frames[-1].line if frames else None,
    }
