"""What happens inside the forked worker: the learner's file is put into the engine, run, and checked."""

from __future__ import annotations

import dis
import importlib
import math
import os
import re
import resource
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from yaie.course import expect
from yaie.course.alike import explained
from yaie.course.files import exercise_path
from yaie.course.language import engine_seam
from yaie.course.registry import Exercise, ExerciseFile, find_exercise, find_lesson

EACH = 0.5  # seconds of the processor for each known mistake
# The sandbox sets this to a function that leaves what was found so far where it survives a crash of this process.
note: Callable[[Any], None] = lambda result: None  # noqa: E731


class TooLong(BaseException):
    """One of several texts has taken more than its share of the time."""


def get_ready(id: str) -> None:
    """Look up what the check of an exercise needs of the engine and import what it imports by name, in the process that
    workers are forked from: there it takes its time once, and not in each of them."""
    find_lesson.cache_clear()  # lessons may have changed since
    exercise = find_exercise(id)
    exercise.language.get_ready(exercise)
    for module in re.findall(r"^import ([\w.]+)", (exercise.folder / "check.py").read_text("utf-8"), re.MULTILINE):
        importlib.import_module(module)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the check of `job["exercise"]` with the functions `job["use"]` out of the file text `job["text"]`.

    `job["folder"]` is where the exercise files lie; errors name lines of the file there. `job["call_limit"]` is the
    number of seconds after which the emulator stops a call. With `job["every"]` the check goes on after an input that
    goes wrong.

    Returns {"passed": True, "score": what the check counted}, or how it failed: {"passed": False, "kind": ..., ...},
    where the kind is "mismatch" (a wrong result), "error" (an exception), "import" (the file itself cannot be run),
    "compile" (it does not compile) or "finding" (what the emulator saw a kernel do). "failures" are the reports of all
    inputs that went wrong, of "tried"; "inputs" has the numbers that launchers were called with for each.

    With `job["bodies"]` they are what the engine's function, which the text has, is changed to, one after the other in
    this process: "found" has the result of each, None where it took too long. If `job["failures"]` are those of an
    answer, it has the numbers of the failures that each body explains. The first `job["listed"]` bodies are known
    mistakes: if one explains all, nothing else is tried. All others together get `job["seconds"]` of the processor, so
    "found" may be shorter than the bodies.
    """
    os.environ["YAIE_EXERCISES_DIR"] = job["folder"]
    exercise = find_exercise(job["exercise"])
    engine_seam.limit_calls(job["call_limit"])
    if not exercise.language.quick:  # else what the function itself was given counts: see `_check`
        engine_seam.watch_calls(expect.saw_call)
    if "bodies" in job:
        return {"found": _in_turn(exercise, job)}
    return _check(exercise, job)


def _in_turn(exercise: Exercise, job: dict[str, Any]) -> list[Any]:
    state, failures, found = torch.get_rng_state(), job["failures"], []
    exercise.language.install(exercise.file, job["text"], job["use"])
    started = time.process_time()
    exercise.check()  # of the engine's own function: what is loaded once takes no time from the first body
    each = min(EACH, 0.05 + 3 * (time.process_time() - started))
    signal.signal(signal.SIGVTALRM, _too_long)

    def run(every: bool) -> dict[str, Any]:
        torch.set_rng_state(state)
        return _result(exercise, every)

    def like(exactly: bool) -> list[int]:
        if explained(run(False)["failures"], failures, exactly=exactly):
            return explained(run(True)["failures"], failures, exactly=exactly)
        return []

    expect.announce = lambda text: None  # each would write a file
    give_up = math.inf
    for number, body in enumerate(job["bodies"]):
        listed, told = number < job["listed"], None
        if number == job["listed"]:
            give_up = time.process_time() + job["seconds"]
        limit = EACH if listed else max(0.001, min(each, give_up - time.process_time()))
        with suppress(TooLong, SyntaxError), ExitStack() as undo:
            for timer, seconds in ((signal.ITIMER_VIRTUAL, limit), (signal.ITIMER_PROF, limit + 0.1)):
                signal.setitimer(timer, seconds)  # the second one ends the process: a loop in C hears of no signal
                undo.callback(signal.setitimer, timer, 0)
            exercise.language.become(exercise, body)
            told = run(job["every"]) if failures is None else like(exactly=not listed)
        found.append(told)
        note({"found": found})
        if (listed and failures and told and len(told) == len(failures)) or time.process_time() > give_up:
            break
    return found


def _too_long(*_: object) -> None:
    raise TooLong


def _check(exercise: Exercise, job: dict[str, Any]) -> dict[str, Any]:
    try:
        exercise.language.install(exercise.file, job["text"], job["use"])
    except BaseException as error:
        report = _last_report(exercise, error, "import")
        return {"passed": False, "score": None, **report, "failures": [report], "tried": 0, "inputs": []}
    exercise.language.watch(exercise, partial(expect.saw_call, launched=False))
    return _result(exercise, job["every"])


def _result(exercise: Exercise, every: bool) -> dict[str, Any]:
    """What the check says of the function that is in the engine now; with `every`, of all inputs."""
    failures, score = [], None

    def go_on(errors: list[Exception]) -> None:
        later = [getattr(error, "what", type(error).__name__) for error in errors[1:]]
        failures.append(_report(exercise, errors[0], "error") | {"later": later})
        if failures[-1]["error"] == "endless_loop" or failures[-1].get("memory"):  # nobody should wait for another one
            raise errors[0]

    expect.current_input, expect.tried, expect.inputs, expect.wrong = "", 0, [], []
    expect.go_on, expect.all_results = go_on if every else None, exercise.language.quick
    try:
        score = exercise.check()
    except TooLong:
        raise
    except BaseException as error:
        failures.append(_last_report(exercise, error, "error"))
    first = failures[0] if failures else {}
    tried = {"tried": expect.tried, "inputs": expect.inputs if every else []}
    return {"passed": not failures, "score": score, **first, "failures": failures, **tried}


def _last_report(exercise: Exercise, error: BaseException, kind: str) -> dict[str, Any]:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # the report needs memory
    return _report(exercise, error, kind)


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
        "by_raise": _is_by_raise(error),
        **_place(error, exercise.file),
        **exercise.language.report(exercise, error),
    }


def _is_by_raise(error: BaseException) -> bool:
    """Whether a `raise` made the error, and not an operation or a call into C that could not go on."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _place(error: BaseException | None, file: ExerciseFile) -> dict[str, Any]:
    """The last line of the learner's own file that was on the way to the error; empty where there is none."""
    path = str(exercise_path(file))
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    own = [frame for frame in frames if frame.filename == path]
    return {"line": own[-1].lineno, "code": own[-1].line} if own else {}
