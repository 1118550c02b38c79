"""What happens inside the forked worker: the learner's file is put into the engine, run, and checked."""

from __future__ import annotations

import os
import resource
import signal
import traceback
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import Any

import torch

from yaie.course import expect
from yaie.course.files import exercise_path
from yaie.course.language import engine_seam
from yaie.course.registry import Exercise, ExerciseFile, find_exercise


class TooLong(BaseException):
    """One of several texts has taken more than its share of the time."""


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the check of `job["exercise"]` with the functions `job["use"]` out of the file text `job["text"]`.

    `job["folder"]` is where the exercise files lie; errors name lines of the file there. `job["call_limit"]` is the
    number of seconds after which the emulator stops a call. With `job["every"]` the check goes on after an input that
    goes wrong.

    Returns {"passed": True, "score": what the check counted}, or how it failed: {"passed": False, "kind": ..., ...},
    where the kind is "mismatch" (a wrong result), "error" (an exception), "import" (the file itself cannot be run),
    "compile" (it does not compile) or "finding" (what the emulator saw a kernel do). "failures" are the reports of all
    inputs that went wrong, of "tried"; "inputs" has the numbers that launchers were called with for each.

    With `job["texts"]` instead of a text they are tried one after the other, which takes no new process for each:
    "reports" has a report for each text, None where it took more than `job["each"]` seconds of the processor.
    """
    os.environ["YAIE_EXERCISES_DIR"] = job["folder"]
    exercise = find_exercise(job["exercise"])
    engine_seam.limit_calls(job["call_limit"])
    engine_seam.watch_calls(expect.saw_call)
    if "texts" in job:
        state = torch.get_rng_state()
        exercise.check()  # of the engine's own function: what is loaded once takes no time from the first text
        signal.signal(signal.SIGVTALRM, _too_long)
        return {"reports": [_in_turn(exercise, job, text, state) for text in job["texts"]]}
    return _check(exercise, job, job["text"], ExitStack())


def _in_turn(exercise: Exercise, job: dict[str, Any], text: str, state: torch.Tensor) -> dict[str, Any] | None:
    """The report of a text when others went before it: everything is as in a process of its own."""
    torch.set_rng_state(state)
    expect.current_input, expect.tried = "", 0
    with suppress(TooLong), ExitStack() as undo:
        signal.setitimer(signal.ITIMER_VIRTUAL, job["each"])
        undo.callback(signal.setitimer, signal.ITIMER_VIRTUAL, 0)
        return _check(exercise, job, text, undo)
    return None


def _too_long(*_: object) -> None:
    raise TooLong


def _check(exercise: Exercise, job: dict[str, Any], text: str, undo: ExitStack) -> dict[str, Any]:
    kind, failures, score = "import", [], None  # the reports

    def go_on(error: Exception) -> None:
        failures.append(_report(exercise, error, "error"))
        if failures[-1]["error"] == "endless_loop":  # nobody should wait for another one
            raise error

    expect.go_on = go_on if job["every"] else None
    try:
        undo.callback(exercise.language.install(exercise.file, text, job["use"]).take_out)
        kind = "error"
        score = exercise.check()
    except TooLong:
        raise
    except BaseException as error:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # the report needs memory
        failures.append(_report(exercise, error, kind))
    first = failures[0] if failures else {}
    tried = {"tried": expect.tried, "inputs": expect.inputs if job["every"] else []}
    return {"passed": not failures, "score": score, **first, "failures": failures, **tried}


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
