"""Check an exercise and say what came out: not attempted, failed or passed.

A failed answer is run a second time on its own, with the engine's functions around it, and then the reference with each
of the known mistakes is run the same way. Where one goes wrong on the same input with the same result, the learner has
probably made that mistake, and its message is shown as the likely cause.
"""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from yaie.course import REPOSITORY, expect, files
from yaie.course.differences import ALL, contrast
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
PROFILE = "profile "  # how inputs begin whose results are not looked at
EACH = 0.5  # seconds of the processor for each of several mistakes that are tried in one process
CALL_LIMIT = 2.0  # seconds that a call of a launcher may take in the emulator

# What a report may hold, and how it is headed.
ROWS = {
    "given": "Tried",
    "expected": "Expected",
    "got": "Got",
    "first_difference": "First difference",
    "pattern": "Pattern",
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
    elif elsewhere := _elsewhere(exercise, text, alone, sandbox):
        rows.append(("Elsewhere", elsewhere))
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
    return _went_wrong_in_a_check(report) and "line" not in report["result"]


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
    line of the learner's has a usual cause. A mistake in a line that the engine no longer has is passed over. After the
    exercise's own come those that any function can have, such as arguments that changed places.
    """
    result = report["result"] or {}
    if result.get("kind") in ("import", "compile") or report["end"] in ("server", "answer", "processes"):
        return None
    known = []
    for mistake in exercise.mistakes:
        with suppress(LookupError):
            known.append((exercise.language.changed(exercise, mistake.old, mistake.new), mistake.message))
    known += exercise.language.slips(exercise)
    texts = [(exercise.language.render(exercise.file, {exercise.id: body}), message) for body, message in known]
    exercise.language.prepare(exercise, [text for text, _ in texts])
    candidates = list(_candidates(exercise, texts, report, sandbox))
    if not candidates:
        return result.get("cause") if located else None
    every = _job(exercise, learners, [exercise.id], sandbox, every=True)
    most, best = 0, ""
    for text, message in candidates:
        run = _job(exercise, text, [exercise.id], sandbox, folder=HOME, every=True)
        if _alike(run, every):
            return message
        if (explained := _explained(run, every)) > most:
            most, best = explained, message
    if best:
        return f"{best} (It explains {most} of the {len(every['result']['failures'])} inputs that go wrong.)"
    return result.get("cause") if located else None


def _candidates(
    exercise: Exercise, known: list[tuple[str, str]], report: dict[str, Any], sandbox: Sandbox
) -> Iterator[tuple[str, str]]:
    """Those of the texts, each with its message, that fail as the report says. Where running is quick, a failure that
    left its process whole is compared with all of them in one."""
    if exercise.language.quick and report["end"] == "finished":
        job = {"texts": [text for text, _ in known], "each": EACH, "time_limit": 2 * exercise.time_limit}
        several = _job(exercise, "", [exercise.id], sandbox, folder=HOME, **job)
        if several["end"] == "finished":
            for each, result in zip(known, several["result"]["reports"], strict=True):
                if result and _alike({"end": "finished", "code": 0, "result": result}, report):
                    yield each
            return
    short = min(exercise.time_limit, max(2.0, exercise.time_limit / 2))
    for each in known:
        run = _job(exercise, each[0], [exercise.id], sandbox, folder=HOME, time_limit=short)
        if _alike(run, report):
            yield each


def _elsewhere(exercise: Exercise, learners: str, report: dict[str, Any], sandbox: Sandbox) -> str:
    """Which of the other inputs come out right, where that says something: what is special about the rest?"""
    result = report["result"] or {}
    wrong = result.get("kind") in ("mismatch", "error", "finding") and not result["given"].startswith(PROFILE)
    if not wrong or result.get("headline") or result["error"] == "endless_loop":
        return ""
    result = _job(exercise, learners, [exercise.id], sandbox, every=True)["result"] or {"failures": [], "inputs": []}
    failed = {failure["given"] for failure in result["failures"]}
    inputs = [each for each in result["inputs"] if not each["given"].startswith(PROFILE)]
    others = len(inputs) - len(failed)
    wrong, right = ([each["numbers"] for each in inputs if (each["given"] in failed) == bad] for bad in (True, False))
    said = []
    if (rule := contrast(right, wrong)) and len(wrong) == len(failed):
        said.append(f"Of {len(inputs)} inputs that were tried, just those go wrong {rule}.")
    if report["result"].get("pattern", ALL) in ("", ALL):  # a larger input may say more
        more = [f"With {each['given']}: {each['pattern']}" for each in result["failures"][1:] if each.get("pattern")]
        said += [text for text in more if text.count(". ")][:1]  # where it is wrong, and what stands there
    if said:
        return " ".join(said)
    if len(failed) != 1 or others < 3:
        return ""
    return f"The other {others} inputs that were tried come out right: what is special about this one?"


def _went_wrong_in_a_check(report: dict[str, Any]) -> bool:
    return bool(report["result"]) and report["result"]["kind"] in ("mismatch", "error")


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two failures can have the same cause: the same inputs went wrong, each in the same way."""
    ended = all(one[key] == other[key] for key in ("end", "code"))
    ours, theirs = ((each["result"] or {}).get("failures", [each.get("current_input")]) for each in (one, other))
    return ended and len(ours) == len(theirs) and all(map(_same_manner, ours, theirs))


def _explained(mistake: dict[str, Any], learners: dict[str, Any]) -> int:
    """How many failures of an answer a mistake explains, where the answer does the same on all inputs on which the
    mistake shows, and something else is wrong besides; at least two, for one may be chance."""
    if not mistake["end"] == learners["end"] == "finished":
        return 0
    ours = {failure["given"]: failure for failure in learners["result"]["failures"]}
    failures = mistake["result"]["failures"]
    shown = all(each["given"] in ours and _same_manner(each, ours[each["given"]]) for each in failures)
    return len(failures) if shown and len(failures) >= 2 else 0


def _same_manner(one: dict[str, Any] | str, other: dict[str, Any] | str) -> bool:
    """Whether one input went wrong alike in two runs. A finding may be met by another thread, and what was computed in
    another order differs in the last digits: results are the same within what the check allows."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    if any(one.get(key) != other.get(key) for key in ("kind", "given", "error", "what")):
        return False
    if one["kind"] == "finding":
        return one.get("array") == other.get("array")
    tolerance = one.get("tolerance", 0.0)
    if not _same_text(one.get("whole"), other.get("whole"), ROUNDING):
        return False
    if any(_same_text(each.get("got"), each.get("expected"), tolerance) for each in (one, other)):
        tolerance = None  # it is wrong in its last digits alone
    return all(_same_text(one.get(key), other.get(key), tolerance) for key in ("got", "first_difference"))


ROUNDING = 1e-5  # what float32 may differ by in numbers around 1
NUMBER = re.compile(r"-?\d+(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)")  # no whole number, which may be an index
CUT = re.compile(r"[^,]*\.\.\. \(\d+ characters\)$")


def _same_text(one: str | None, other: str | None, tolerance: float | None) -> bool:
    """Whether two results as text are the same, their numbers within `tolerance` or what float32 rounds; with None
    to the last digit."""
    if one == other or tolerance is None or not one or not other:
        return one == other
    cut = bool(CUT.search(one) and CUT.search(other))
    (words, ours), (others, theirs) = (_split(text) for text in (one, other))
    if cut:
        count = min(len(ours), len(theirs))  # longer numbers leave room for fewer of them
        words, others = words[:count], others[:count]
    near = partial(math.isclose, rel_tol=ROUNDING, abs_tol=tolerance)
    numbers = zip(map(float, ours), map(float, theirs), strict=not cut)
    return words == others and all(near(a, b) for a, b in numbers)


def _split(text: str) -> tuple[list[str], list[str]]:
    """What stands between the numbers with a point in a text, and these; where it was cut, without the last one."""
    text = CUT.sub("", text)
    return NUMBER.split(text), NUMBER.findall(text)


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
        order = ["Tried", "First difference", "Pattern", *found]
        found = {label: found[label] for label in order} | {key: expect.clipped(found[key], BY_HAND) for key in LONG}
    return [(label, expect.clipped(text, 600)) for label, text in found.items() if text]


def _output_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [line[:200] for line in report["output"].splitlines()]
    more = [f"... and more: {len(lines)} lines in all"] if len(lines) > 10 else []
    return [("It printed", "\n".join(lines[:10] + more))] if lines else []
