"""Check an exercise and say what came out: not attempted, failed or passed.

A failed answer is run a second time on its own, with the engine's functions around it, and then the reference with each
of the known mistakes is run the same way. Where one goes wrong on the same input with the same result, the learner has
probably made that mistake, and its message is shown as the likely cause.
"""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from yaie.course import REPOSITORY, expect, files
from yaie.course.language import Written
from yaie.course.registry import Exercise, find_exercise
from yaie.course.sandbox import MEMORY_LIMIT, OUTPUT_LIMIT, PROCESS_LIMIT, Sandbox, SandboxError
from yaie.course.show import Panel

NOT_ATTEMPTED, FAILED, PASSED = "not attempted", "failed", "passed"
NOT_COMPILED = "It does not compile."
WORSE, AS_GOOD = "There is a better way.", "That is as good."  # of a score, beside the course's
TONES = {NOT_ATTEMPTED: "open", FAILED: "bad", PASSED: "good"}

HOME = str(REPOSITORY / "exercises")  # where mistakes are said to lie: what is compiled once is found again
BY_HAND = 200  # characters of an input or a result that one can work with by hand
LONG = ("Expected", "Got")
CALL_LIMIT = 2.0  # seconds that a call of a launcher may take in the emulator

# What a report may hold, and how it is headed.
ROWS = {
    "given": "Tried",
    "expected": "Expected",
    "got": "Got",
    "first_difference": "First difference",
    "note": "Note",
    "details": "Found",
    "compiler": "Compiler",
}
SIGNALS = {each.value: each.name for each in signal.Signals} | {
    signal.SIGSEGV: "SIGSEGV: memory that is not its own was touched, or a recursion went too deep",
    signal.SIGABRT: "SIGABRT: a C library gave up",
    signal.SIGKILL: "SIGKILL: the system stopped it, perhaps because memory ran out",
}

_sandbox = Sandbox()


@dataclass
class Outcome:
    """What a check found. `rows` are (label, text) pairs to show in this order.

    `source_hash` is the `Written.hash` of what was checked; empty where nothing could be.
    """

    exercise: Exercise
    status: str
    headline: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    source_hash: str = ""

    @property
    def passed(self) -> bool:
        return self.status == PASSED

    def panel(self) -> Panel:
        """The outcome, to be shown."""
        title = f"{self.exercise.id} {self.exercise.title}: {self.status}"
        link = "" if self.passed else f"exercises/{self.exercise.file.name}"
        return Panel(title, TONES[self.status], self.headline, self.rows, link)

    def __str__(self) -> str:
        return str(self.panel())


def warm_up() -> None:
    """Have the sandbox start while the caller does something else. Where it cannot, the check will say so."""
    with suppress(SandboxError):
        _sandbox.start()


def check(exercise_id: str, text: str | None = None, sandbox: Sandbox | None = None) -> Outcome:
    """Check one exercise as it stands in the learner's file (or in `text`). Records nothing."""
    exercise = find_exercise(exercise_id)
    sandbox = sandbox or _sandbox
    try:
        text = files.read(exercise.file) if text is None else text
        written = exercise.language.find(exercise, text)
    except files.FileProblem as problem:
        return Outcome(exercise, FAILED, problem.problem, [("Next step", problem.next_step)])
    if not written.attempted:
        outcome = _not_attempted(exercise, written)
    else:
        outcome = _run(exercise, text, written, sandbox)
    outcome.source_hash = written.hash
    return outcome


def _not_attempted(exercise: Exercise, written: Written) -> Outcome:
    headline = "This function is as you found it." if exercise.broken else "Nothing has been written here yet."
    place = f"`{exercise.qualname}`, line {written.first_line}"
    then = f"save the file and check again; `yaie hint {exercise.id}` gives a hint."
    return Outcome(exercise, NOT_ATTEMPTED, headline, [("Function", place), ("Then", then)])


def _run(exercise: Exercise, text: str, written: Written, sandbox: Sandbox) -> Outcome:
    exercise.language.prepare(exercise)
    others = _attempted_others(exercise, text)
    report = _job(exercise, text, [exercise.id, *others], sandbox)
    if _passed(report):
        of_the_engine = not exercise.module.startswith("yaie.course.")  # else it is an input that was asked for
        praise = "does what the engine's own does on every input tried" if of_the_engine else "gives what was asked for"
        rows = [*_score_rows(exercise, report, sandbox), *_output_rows(report)]
        return Outcome(exercise, PASSED, f"`{exercise.qualname}` {praise}.", rows)
    alone = _job(exercise, text, [exercise.id], sandbox) if others else report
    if _passed(alone):
        names = ", ".join(others)
        note = f"With your own {names} around it the check fails, so look there next (`yaie check {others[0]}`)."
        rows = [("But", note), *_score_rows(exercise, alone, sandbox), *_output_rows(alone)]
        return Outcome(exercise, PASSED, "Right on its own.", rows)
    rows = _describe(exercise, alone, text)
    if written.remark and _went_wrong_outside(alone):
        rows.append(("Note", written.remark))
    located = any(label == "Where" for label, _ in rows)
    if cause := _likely_cause(exercise, text, alone, sandbox, located):
        rows.append(("Likely cause", cause))
    rows += _output_rows(alone)
    headline, next_step = _headline(exercise, alone, located)
    rows.append(("Next step", f"{next_step} `yaie hint {exercise.id}` gives a hint."))
    return Outcome(exercise, FAILED, headline, rows)


def _attempted_others(exercise: Exercise, text: str) -> list[str]:
    """Ids of the file's other exercises that have an answer in it; broken ones count as not attempted."""
    attempted = []
    for other in exercise.file.exercises:
        with suppress(files.FileProblem):  # reported when that exercise is checked
            if other.id != exercise.id and other.language.find(other, text).attempted:
                attempted.append(other.id)
    return attempted


def _job(exercise: Exercise, text: str, use: list[str], sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    limits = {"time_limit": exercise.time_limit, "call_limit": CALL_LIMIT}
    job = {"exercise": exercise.id, "folder": str(files.exercises_dir()), "text": text, "use": use, "every": False}
    return sandbox.run(job | limits | changes)


def _went_wrong_outside(report: dict[str, Any]) -> bool:
    """Whether the function came to its end, and what it gave back is at fault."""
    result = report["result"]
    return bool(result) and result["kind"] in ("mismatch", "error") and "line" not in result


def passes(exercise: Exercise, text: str, sandbox: Sandbox) -> bool:
    """Whether the check lets a text pass that is compiled where mistakes are."""
    return _passed(_job(exercise, text, [exercise.id], sandbox, folder=HOME))


def _passed(report: dict[str, Any]) -> bool:
    return report["end"] == "finished" and report["result"]["passed"]


def _score_rows(exercise: Exercise, report: dict[str, Any], sandbox: Sandbox) -> list[tuple[str, str]]:
    """What a right answer costs beside what the engine's own function does, which the same check counts now."""
    if not exercise.score:
        return []
    engines = exercise.language.solved(exercise.file)
    exercise.language.prepare(exercise, [engines])
    course = _job(exercise, engines, [exercise.id], sandbox, folder=HOME)
    count = report["result"]["score"]
    if not _passed(course):  # there was no time, or no memory
        return [("Score", f"{count:,} {exercise.score}. The course's could not be counted now: check again.")]
    courses = course["result"]["score"]
    verdict = WORSE if count > courses else "Yours is better." if count < courses else AS_GOOD
    return [("Score", f"{count:,} {exercise.score}. The course's: {courses:,}. {verdict}")]


def _likely_cause(
    exercise: Exercise, learners: str, report: dict[str, Any], sandbox: Sandbox, located: bool
) -> str | None:
    """The message of the first known mistake that goes wrong on just the inputs on which the learner's function does,
    and in the same way. One that agrees on the first of them alone may be another mistake: then none is named.

    It has less time: nobody should wait for three endless loops in a row. Where none fits, what the emulator found in a
    line of the learner's has a usual cause. A mistake in a line that the engine no longer has is passed over.
    """
    result = report["result"] or {}
    if result.get("kind") in ("import", "compile") or report["end"] in ("server", "answer", "processes"):
        return None
    known = []
    for mistake in exercise.mistakes:
        with suppress(LookupError):
            body = exercise.language.changed(exercise, mistake.old, mistake.new)
            known.append((mistake, exercise.language.render(exercise.file, {exercise.id: body})))
    exercise.language.prepare(exercise, [text for _, text in known])
    first, every = _fingerprint(report), None
    short = max(2.0, exercise.time_limit / 2)
    for mistake, text in known:
        run = partial(_job, exercise, text, [exercise.id], sandbox, folder=HOME)
        if _fingerprint(run(time_limit=short)) != first:
            continue
        every = every or _fingerprint(_job(exercise, learners, [exercise.id], sandbox, every=True))
        if _fingerprint(run(every=True)) == every:
            return mistake.message
    return result.get("cause") if located else None


def _fingerprint(report: dict[str, Any]) -> list[Any]:
    """What must be the same for two failures to have the same cause."""
    failures = (report["result"] or {}).get("failures", [report["current_input"]])
    return [report["end"], report["code"], *map(_manner, failures)]


def _manner(failure: dict[str, Any] | str) -> Any:
    """How one input went wrong. A finding may be met by another thread."""
    if isinstance(failure, str):
        return failure
    keys = ("array",) if failure["kind"] == "finding" else ("what", "got", "first_difference")
    return [failure.get(key) for key in ("kind", "given", "error", *keys)]


def _is_wrong(what: str) -> str:
    """A sentence about a label of a check, which is a noun with what belongs to it, or something else."""
    noun = re.match(r"[a-z]+(?: [a-z]+)*?(?=,| \(| (?:of|that|with|in|to|for|on|at|by|found|afterwards)\b|$)", what)
    if noun is None or len(what) > 40 or what.startswith(("what ", "whether ")):
        return f"Wrong: {what.rstrip(',')}."
    several = " and " in noun[0] or re.search(r"[^siu]s$", noun[0])
    return f"The {what} {'are' if several else 'is'} wrong."


def _headline(exercise: Exercise, report: dict[str, Any], located: bool) -> tuple[str, str]:
    """What happened, and what to do next. `located`: a line of the learner's file is shown as the place."""
    end, code, result = report["end"], report["code"], report["result"]
    fix = "Fix that line, save, and check again."
    if not located:
        fix = f"Look for it in `{exercise.qualname}` and in what it calls."
    ended = {
        "timeout": f"It was still running after {exercise.time_limit:.0f} s and was stopped: an endless loop?",
        "output": f"It printed more than {OUTPUT_LIMIT >> 10} KiB and was stopped: a print inside a loop?",
        "exit": f"It ended the whole Python process (exit code {code}), as `{exercise.language.ends_process}` does.",
        "processes": f"It had more than {PROCESS_LIMIT} processes and was stopped: a fork inside a loop?",
        "server": "It ended or stopped the process that runs the checks.",
        "answer": "It wrote into the file that the answer of the check goes through.",
        "signal": f"It crashed the Python process with {SIGNALS.get(code) or f'signal {code}'}.",
    }
    if end in ended:
        return ended[end], fix
    if result.get("memory"):
        return f"It asked for more than {MEMORY_LIMIT >> 30} GiB of memory.", fix
    if result["kind"] == "mismatch":
        if result["headline"]:
            look = exercise.language.look.format(id=exercise.id)
            return result["headline"], f"See what each line does in the notebook: `{look}`." if look else fix
        by_hand = max(len(result[key]) for key in ("given", "got", "expected")) <= BY_HAND
        first = "Work through that input by hand" if by_hand else "Find out how the first difference comes about"
        return _is_wrong(result["what"]), f"{first}, then fix the function."
    if result["kind"] == "finding":
        engines = f"That line is not yours: look at what your `{exercise.function}` gives back to it and changes."
        return f"{result['what'][0].upper()}{result['what'][1:]}.", fix if located else engines
    if result["kind"] == "compile":
        return NOT_COMPILED, fix
    error = f"{result['error']}: {result['message']}" if result["message"] else result["error"]
    if result["kind"] == "import":
        return f"{exercise.file.name} cannot be run: {error}", fix
    if _went_wrong_outside(report):
        # The error came up in the code around the function, which was given something it cannot work with.
        step = "Compare what it returns and changes with what the exercise asks for."
        return f"The code that called it could not go on: {error}", step
    if result["error"] == "NotImplementedError":
        return "It reached the `raise NotImplementedError` of the exercise.", "Delete that line when you are done."
    return f"It raised {error}", fix


def _describe(exercise: Exercise, report: dict[str, Any], text: str) -> list[tuple[str, str]]:
    """What the report holds, and the line of the learner's file that it is about."""
    result = report["result"] or {"given": report["current_input"]}
    line, code = result.get("line"), result.get("code")
    if line is None:  # the innermost line in a stack that faulthandler wrote
        path = re.escape(str(files.exercise_path(exercise.file)).encode("ascii", "backslashreplace").decode())
        found = re.search(rf'File "{path}", line (\d+)', report["stack"])
        line = int(found[1]) if found else None
    if line and code is None:
        code = text.split("\n")[line - 1].strip()
    where = f"{exercise.file.name}, line {line}" + (f": `{code}`" if code else "") if line else ""
    found = {label: result.get(key, "") for key, label in ROWS.items()} | {"Where": where}
    if max(len(found["Expected"]), len(found["Got"])) > BY_HAND and found["First difference"]:  # it says the most
        order = ["Tried", "First difference", *found]
        found = {label: found[label] for label in order} | {key: expect.clipped(found[key], BY_HAND) for key in LONG}
    return [(label, expect.clipped(text, 600)) for label, text in found.items() if text]


def _output_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [line[:200] for line in report["output"].splitlines()]
    more = [f"... and more: {len(lines)} lines in all"] if len(lines) > 10 else []
    return [("It printed", "\n".join(lines[:10] + more))] if lines else []
