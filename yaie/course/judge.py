"""Check an exercise and say what came out: not attempted, failed or passed.

A failed answer is run a second time on its own, with the engine's functions around it, and then the reference with each
of the known mistakes is run the same way. Where one goes wrong on the same inputs with the same results, the learner
has probably made that mistake, and its message is shown as the likely cause.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Any

from yaie.course import expect, files
from yaie.course.alike import alike, explained
from yaie.course.differences import contrast, says_little
from yaie.course.language import Slip, Written
from yaie.course.registry import Exercise, find_exercise
from yaie.course.sandbox import MEMORY_LIMIT, OUTPUT_LIMIT, PROCESS_LIMIT, Sandbox, SandboxError
from yaie.course.show import Panel

NOT_ATTEMPTED, FAILED, PASSED = "not attempted", "failed", "passed"
NOT_COMPILED = "It does not compile."
WORSE, AS_GOOD = "There is a better way.", "That is as good."  # of a score, beside the course's
TONES = {NOT_ATTEMPTED: "open", FAILED: "bad", PASSED: "good"}

HOME = str(files.HOME)
BY_HAND = 200  # characters of an input or a result that one can work with by hand
LONG = ("Expected", "Got")
PARTLY = "inputs that go wrong.)"
PROFILE = "profile "  # how inputs begin whose results are not looked at
SECONDS = 0.5  # of the processor, for all small changes that are tried
ENOUGH = 3  # inputs that a mistake must explain where it does not explain all: fewer may be chance
CRASHES = 3  # of the process in which they are tried
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
        link = "" if self.passed else files.told_path(self.exercise.file)
        return Panel(title, TONES[self.status], self.headline, self.rows, link)

    def __str__(self) -> str:
        return str(self.panel())


PYTHONS_OWN = ("AttributeError", "IndexError", "NameError", "RuntimeError", "TypeError", "UnboundLocalError")


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
    rows += _cause_rows(exercise, text, alone, sandbox, located)
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


def _cause_rows(
    exercise: Exercise, text: str, report: dict[str, Any], sandbox: Sandbox, located: bool
) -> list[tuple[str, str]]:
    """The likely cause; where none is found, what the emulator found in a line of the learner's has a usual one, and if
    all other inputs come out right, that says something too."""
    result = report["result"] or {}
    if result.get("kind") in ("import", "compile") or report["end"] in ("server", "answer", "processes"):
        return []
    # One that was stopped had no failure before, and nobody should wait for it a second time.
    stopped = report["end"] == "timeout"
    every = cache(lambda: report if stopped else _job(exercise, text, [exercise.id], sandbox, every=True))
    if cause := _likely_cause(exercise, report, every, sandbox):
        return [("Likely cause", cause)]
    its_own = located and not result.get("called")  # what lines of others usually suffer from is not its fault
    usual, said = ((its_own or result.get("computed")) and result.get("cause")) or "", _elsewhere(report, every)
    said = "" if usual and said.endswith("?") else said  # the cause is more than the question
    return [(label, text) for label, text in (("Likely cause", usual), ("Elsewhere", said)) if text]


def _likely_cause(
    exercise: Exercise, report: dict[str, Any], every: Callable[[], dict[str, Any]], sandbox: Sandbox
) -> str:
    """The message of the first known mistake that goes wrong on just the inputs on which the learner's function does,
    and in the same way. One that agrees on the first of them alone may be another mistake: then none is named.

    `report` is of a run up to the first failure, `every` of one over all inputs. A mistake in a line that the engine no
    longer has is passed over.
    """
    known = []
    for mistake in exercise.mistakes:
        with suppress(LookupError):
            known.append((exercise.language.changed(exercise, mistake.old, mistake.new), mistake.message))
    if exercise.language.quick and report["end"] == every()["end"] == "finished":
        failures = every()["result"]["failures"]
        slips = exercise.language.slips(exercise) if any(map(_is_telling, failures)) else []
        bodies = [body for body, _ in known] + [slip.body for slip in slips]
        found = _explained(exercise, bodies, len(known), failures, sandbox)
        listed = [(each, message) for each, (_, message) in zip(found, known, strict=False)]
        told = _told(listed, list(zip(found[len(known) :], slips, strict=False)), len(failures))
        # Where an answer is one of two, it can be wrong in one way only: to explain a part of them may be chance.
        two = 2 * sum(failure.get("got") in ("True", "False") for failure in failures) > len(failures)
        return "" if two and told.endswith(PARTLY) else told
    texts = [(exercise.language.render(exercise.file, {exercise.id: body}), message) for body, message in known]
    exercise.language.prepare(exercise, [text for text, _ in texts])
    short, found = min(exercise.time_limit, max(2.0, exercise.time_limit / 2)), []
    for text, message in texts:
        run = _job(exercise, text, [exercise.id], sandbox, folder=HOME, time_limit=short)
        if alike(run, report):
            whole = _job(exercise, text, [exercise.id], sandbox, folder=HOME, every=True)
            if alike(whole, every()):
                return message
            if whole["end"] == every()["end"] == "finished":
                found.append((explained(whole["result"]["failures"], every()["result"]["failures"]), message))
    computed = report["result"] and report["result"].get("computed")  # says more than what explains some of the inputs
    return _told(found, [], len(every()["result"]["failures"])) if found and not computed else ""


def _is_telling(failure: dict[str, Any]) -> bool:
    """Whether a failure says more than that Python could not go on, which has a hundred causes."""
    return failure["kind"] != "error" or failure["error"] not in PYTHONS_OWN


def _elsewhere(report: dict[str, Any], every: Callable[[], dict[str, Any]]) -> str:
    """Which of the other inputs come out right, where that says something: what is special about the rest?"""
    result = report["result"] or {}
    wrong = result.get("kind") in ("mismatch", "error", "finding") and not result["given"].startswith(PROFILE)
    if not wrong or result.get("headline") or result["error"] == "endless_loop":
        return ""
    whole = every()["result"] or {"failures": [], "inputs": []}
    failed = {failure["given"] for failure in whole["failures"]}
    inputs = [each for each in whole["inputs"] if not each["given"].startswith(PROFILE)]
    others = len(inputs) - len(failed)
    wrong, right = ([each["numbers"] for each in inputs if (each["given"] in failed) == bad] for bad in (True, False))
    said = []
    if (rule := contrast(right, wrong)) and len(wrong) == len(failed):
        said.append(f"Of {len(inputs)} inputs that were tried, just those go wrong {rule}.")
    if says_little(result.get("pattern", "")):  # a larger input may say more
        more = [each for each in whole["failures"][1:] if not says_little(each.get("pattern", ""))]
        more.sort(key=lambda each: ". " not in each["pattern"])  # first where it is wrong, and what stands there
        said += [f"With {each['given']}: {each['pattern']}" for each in more[:1]]
    errors = [each for each in whole["failures"] if each["kind"] == "error" and each.get("line")]
    if result["kind"] == "mismatch" and errors:  # two faults, or one that shows itself in two ways
        error = errors[0]
        told = f"{error['error']}: {error['message']}, in line {error['line']}: `{error['code']}`"
        said.append(f"With {error['given']}: it raised {told}.")
    if said:
        return " ".join(said)
    if len(failed) != 1 or others < 3:
        return ""
    return f"The other {others} inputs that were tried come out right: what is special about this one?"


def _explained(
    exercise: Exercise, bodies: list[str], listed: int, failures: list[dict[str, Any]], sandbox: Sandbox
) -> list[list[int]]:
    """Which of the failures each body explains, as far as there was time. One that crashes explains nothing."""
    text, found = exercise.language.solved(exercise.file), []
    for _ in range(CRASHES):
        rest = {"bodies": bodies[len(found) :], "listed": max(0, listed - len(found))}
        job = {**rest, "failures": failures, "seconds": SECONDS, "time_limit": 2 * exercise.time_limit}
        several = _job(exercise, text, [exercise.id], sandbox, folder=HOME, **job)
        found += [each or [] for each in (several["result"] or {}).get("found", [])]
        if several["end"] != "signal":
            break
        found.append([])
    return found


def _told(listed: list[tuple[list[int], str]], slips: list[tuple[list[int], Slip]], count: int) -> str:
    """The likely cause, given which of `count` failures each listed mistake explains, and each slip.

    A listed one that explains all comes first, then a slip that does. Slips are so many that several may: those in one
    statement come to the same, and the first of them is told; of others none is. Else the only two of which each
    explains what the other does not, or a listed mistake that explains most.
    """
    if whole := [message for each, message in listed if len(each) == count]:
        return whole[0]
    if whole := [slip for each, slip in slips if len(each) == count]:
        likely = [slip for slip in whole if slip.rank == min(other.rank for other in whole)]
        return likely[0].message if len({slip.line for slip in likely}) == 1 else ""
    common = [(each, slip.message) for each, slip in slips if not slip.rare]
    for causes in (listed, common, listed + common):
        pairs = {
            (one, other) if 0 in some else (other, one)  # first that of the input that is shown
            for (some, one), (others, other) in combinations(causes, 2)
            if some and others and len({*some, *others}) == len(some) + len(others) == count
        }
        if len(pairs) == 1 and all(pair := pairs.pop()):
            return " ".join(pair)
    each, best = max(listed, key=lambda each: len(each[0]), default=([], ""))
    if len(each) >= max(ENOUGH, count / 2):
        return f"{best} (It explains {len(each)} of the {count} {PARTLY}"
    return ""


def _went_wrong_in_a_check(report: dict[str, Any]) -> bool:
    return bool(report["result"]) and report["result"]["kind"] in ("mismatch", "error")


def _is_wrong(what: str) -> str:
    """A sentence about a label of a check, which is a noun with what belongs to it, or something else."""
    noun = re.match(r"[a-z]+(?: [a-z]+)*?(?=,| \(| (?:of|that|with|in|to|for|on|at|by|found|afterwards)\b|$)", what)
    if noun is None or len(what) > 40 or what.startswith(("what ", "whether ")):
        return f"Wrong: {what.rstrip(',')}."
    several = " and " in noun[0] or re.search(r"[^siu]s$", noun[0])
    aside = ", " in re.sub(r"\(.*?\)", "", what)
    return f"The {what}{',' if aside else ''} {'are' if several else 'is'} wrong."


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
        engines = f"That line is not yours: look at what your `{exercise.function}` returns, passes on or changes."
        if located and result["called"]:
            fix = "That line leads there: look at what it passes on, and at what must come before it."
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
