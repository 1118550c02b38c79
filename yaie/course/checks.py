"""Check an exercise and say what came out: not attempted, failed or passed.

A failed answer is run a second time on its own, with the engine's functions around it, and then each mutant is run the
same way. Where a mutant goes wrong on the same input with the same result, the learner has probably made its mistake,
and its message is shown as the likely cause.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import Any

from yaie.course import learner
from yaie.course.generate import exercise_file, mutated
from yaie.course.registry import Exercise, find_exercise
from yaie.course.sandbox import MEMORY_LIMIT, OUTPUT_LIMIT, Sandbox

NOT_ATTEMPTED, FAILED, PASSED = "not attempted", "failed", "passed"

_sandbox = Sandbox()


@dataclass
class Outcome:
    """What a check found. `rows` are (label, text) pairs to show in this order."""

    exercise: Exercise
    status: str
    headline: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    source_hash: str = ""

    @property
    def passed(self) -> bool:
        return self.status == PASSED

    def __str__(self) -> str:
        lines = [f"{self.exercise.id} {self.exercise.title}: {self.status.upper()}. {self.headline}"]
        width = max((len(label) for label, _ in self.rows), default=0)
        for label, text in self.rows:
            first, *rest = text.splitlines() or [""]
            lines.append(f"  {label:<{width}}  {first}")
            lines += [f"  {'':<{width}}  {line}" for line in rest]
        return "\n".join(lines)


def check(exercise_id: str, text: str | None = None, sandbox: Sandbox | None = None) -> Outcome:
    """Check one exercise as it stands in the learner's file (or in `text`). Records nothing."""
    exercise = find_exercise(exercise_id)
    sandbox = sandbox or _sandbox
    started = time.monotonic()
    try:
        text = learner.read(exercise.lesson) if text is None else text
        written = learner.find(exercise, text)
    except learner.FileProblem as problem:
        return Outcome(exercise, FAILED, problem.problem, [("Next step", problem.next_step)])
    if not written.attempted:
        outcome = _not_attempted(exercise, written)
    else:
        outcome = _run(exercise, text, written, sandbox)
    outcome.source_hash = written.hash
    outcome.seconds = time.monotonic() - started
    return outcome


def _not_attempted(exercise: Exercise, written: learner.Written) -> Outcome:
    place = f"{exercise.lesson.exercise_file}, line {written.first_line}: `{exercise.qualname}`"
    return Outcome(
        exercise,
        NOT_ATTEMPTED,
        "The function still raises NotImplementedError.",
        [
            ("Edit", place),
            ("Then", f"save the file and check again; `yaie hint {exercise.id}` gives a hint."),
        ],
    )


def _run(exercise: Exercise, text: str, written: learner.Written, sandbox: Sandbox) -> Outcome:
    others = _attempted_others(exercise, text)
    report = _job(exercise, text, [exercise.id, *others], sandbox)
    if _passed(report):
        return Outcome(exercise, PASSED, _praise(exercise), _output_rows(report))
    alone = _job(exercise, text, [exercise.id], sandbox) if others else report
    if _passed(alone):
        names = ", ".join(others)
        note = (
            f"With your own {names} around it the check fails, so look there next (`yaie check {others[0]}`)."
        )
        return Outcome(exercise, PASSED, "Right on its own.", [("But", note), *_output_rows(alone)])
    rows = _describe(exercise, alone)
    cause = _likely_cause(exercise, alone, sandbox)
    if cause:
        rows.append(("Likely cause", cause))
    rows += _output_rows(alone)
    rows.append(("Next step", _next_step(exercise, alone)))
    return Outcome(exercise, FAILED, _headline(exercise, alone), rows)


def _attempted_others(exercise: Exercise, text: str) -> list[str]:
    """Ids of the lesson's other exercises that the file has an answer for; broken ones count as not attempted."""
    attempted = []
    for other in exercise.lesson.exercises:
        if other.id != exercise.id:
            try:
                if learner.find(other, text).attempted:
                    attempted.append(other.id)
            except learner.FileProblem:
                continue  # reported when that exercise is checked
    return attempted


def _job(exercise: Exercise, text: str, use: list[str], sandbox: Sandbox) -> dict[str, Any]:
    return sandbox.run(
        {
            "exercise": exercise.id,
            "folder": str(learner.exercises_dir()),
            "text": text,
            "use": use,
            "time_limit": exercise.time_limit,
        }
    )


def _passed(report: dict[str, Any]) -> bool:
    return report["end"] == "finished" and report["result"]["passed"]


def _likely_cause(exercise: Exercise, report: dict[str, Any], sandbox: Sandbox) -> str | None:
    """The message of the first mutant that fails in just the way the learner's function did."""
    wanted = _fingerprint(report)
    for mutant in exercise.mutants:
        text = exercise_file(exercise.lesson, {exercise.id: mutated(exercise, mutant)})
        if _fingerprint(_job(exercise, text, [exercise.id], sandbox)) == wanted:
            return mutant.message
    return None


def _fingerprint(report: dict[str, Any]) -> tuple[Any, ...]:
    result = report["result"] or {"kind": "", "given": report["current_input"]}
    keys = ("kind", "given", "what", "got", "error")
    return (report["end"], report["code"], *(result.get(key) for key in keys))


def _headline(exercise: Exercise, report: dict[str, Any]) -> str:
    end, result = report["end"], report["result"]
    if end == "timeout":
        return f"It was still running after {exercise.time_limit:.0f} s and was stopped: an endless loop?"
    if end == "output":
        return f"It printed more than {OUTPUT_LIMIT >> 10} KiB and was stopped: a print inside a loop?"
    if end == "exit":
        return f"It ended the whole Python process (exit code {report['code']}), as `os._exit` does."
    if end == "signal":
        name = signal.Signals(report["code"]).name
        meaning = {"SIGSEGV": "memory that is not its own was touched", "SIGABRT": "a C library gave up"}
        return f"It crashed the Python process with {name}" + (
            f": {meaning[name]}." if name in meaning else "."
        )
    if result.get("memory"):
        return f"It asked for more than {MEMORY_LIMIT >> 30} GiB of memory."
    if result["kind"] == "import":
        return f"{exercise.lesson.exercise_file} cannot be run: {result['error']}: {result['message']}"
    if result["kind"] == "error":
        return f"It raised {result['error']}: {result['message']}"
    return f"The {result['what']} is wrong."


def _describe(exercise: Exercise, report: dict[str, Any]) -> list[tuple[str, str]]:
    result = report["result"] or {"given": report["current_input"]}
    line, code = result.get("line"), result.get("code")
    if not report["result"] or line is None:
        line, code = _line_in_stack(exercise, report["stack"]), None
    rows = [
        ("Tried", result.get("given", "")),
        ("Expected", result.get("expected", "")),
        ("Got", result.get("got", "")),
    ]
    rows.append(("First difference", result.get("first_difference", "")))
    rows.append(("Note", result.get("note", "")))
    if line:
        rows.append(
            ("Where", f"{exercise.lesson.exercise_file}, line {line}" + (f": `{code}`" if code else ""))
        )
    return [(label, _clip(value)) for label, value in rows if value]


def _line_in_stack(exercise: Exercise, stack: str) -> int | None:
    """The innermost line of the learner's file in a stack that faulthandler wrote."""
    mark = f'File "{learner.exercise_path(exercise.lesson)}", line '
    for line in stack.splitlines():
        if mark in line:
            return int(line.partition(mark)[2].split()[0])
    return None


def _output_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    lines = report["output"].splitlines()
    if not lines:
        return []
    shown = [line[:200] for line in lines[:10]]
    if len(lines) > len(shown):
        shown.append(f"... and {len(lines) - len(shown)} more lines")
    return [("It printed", "\n".join(shown))]


def _next_step(exercise: Exercise, report: dict[str, Any]) -> str:
    if report["result"] and report["result"]["kind"] == "mismatch":
        return f"Work the tried input through by hand, then mend it; `yaie hint {exercise.id}` gives a hint."
    return f"Mend that line, save, and check again; `yaie hint {exercise.id}` gives a hint."


def _praise(exercise: Exercise) -> str:
    return f"`{exercise.qualname}` does what the engine's own does on every input tried."


def _clip(text: str, limit: int = 600) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
