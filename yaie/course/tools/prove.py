"""What is promised of every exercise, and whether it is kept. The tests and `yaie dev check` go through one list."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from yaie.course import alike, judge
from yaie.course.registry import Exercise, Mistake, find_exercise
from yaie.course.sandbox import Sandbox


class Remembering(Sandbox):
    """A sandbox that runs the same job once: the check of each mistake tries the mistakes before it, too, and itself
    with less time. What ends in time ends so under another limit; what does not ends so under a shorter one.

    Where running is quick, all mistakes of an exercise run in one process, as a check tries them. What was cut off
    there, or ended that process, runs alone. Which mistake explains another is then known from what both have come to.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reports: dict[str, tuple[float, dict[str, Any]]] = {}

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        if "bodies" in job and (report := self._explained(job)):
            return report
        if _key(job) not in self._reports and job["text"] in (texts := _mistaken(job["exercise"])):
            self._run_together(job, texts)
        limit, report = self._reports.get(_key(job), (0.0, {"end": "timeout"}))
        if report["end"] == "timeout" and limit < job["time_limit"]:
            report = super().run(job)
            self._reports[_key(job)] = job["time_limit"], report
        return report

    def _explained(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """What a job comes to that asks which known mistake explains an answer; None where none explains all of it."""
        texts, found = _mistaken(job["exercise"]), []
        alone = {name: value for name, value in job.items() if name not in ("bodies", "listed", "failures", "seconds")}
        for text in texts if job["listed"] == len(texts) else ():
            _, report = self._reports.get(_key(alone | {"text": text, "every": True}), (0.0, {"end": ""}))
            if report["end"] != "finished":
                break
            found.append(alike.explained(report["result"]["failures"], job["failures"]))
            if len(found[-1]) == len(job["failures"]):
                return report | {"result": {"found": found}}
        return None

    def _run_together(self, job: dict[str, Any], texts: list[str]) -> None:
        self._reports |= {_key(job | {"text": text}): (0.0, {"end": "timeout"}) for text in texts}
        exercise = find_exercise(job["exercise"])
        bodies = [exercise.language.changed(exercise, each.old, each.new) for each in exercise.mistakes]
        several = {
            "bodies": bodies,
            "listed": len(bodies),
            "failures": None,
            "time_limit": len(texts) * job["time_limit"],
        }
        report = super().run(job | several | {"text": exercise.language.solved(exercise.file)})
        for text, result in zip(texts, (report["result"] or {}).get("found", []), strict=False):
            if result:
                ended = {"end": "finished", "code": 0, "result": result}
                self._reports[_key(job | {"text": text})] = math.inf, report | ended


def _key(job: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in job.items() if name != "time_limit"}, sort_keys=True)


@cache
def _mistaken(exercise_id: str) -> list[str]:
    """The exercise file with each mistake; none where each runs in a process of its own."""
    exercise = find_exercise(exercise_id)
    return [mistaken(exercise, mistake) for mistake in exercise.mistakes] if exercise.language.quick else []


def mistaken(exercise: Exercise, mistake: Mistake) -> str:
    body = exercise.language.changed(exercise, mistake.old, mistake.new)
    return exercise.language.render(exercise.file, {exercise.id: body})


@dataclass(frozen=True)
class Promise:
    """What the check of an exercise says when the learner's file has a certain text."""

    exercise: Exercise
    name: str  # "mistake 2", "right/1.py"
    file: Callable[[], str]
    status: str
    said: str = ""  # a part of what the check says
    unsaid: str = "\0"  # what it must not say

    @property
    def text(self) -> str:
        return f"{self.status}: {self.said}" if self.said else self.status

    def broken(self, sandbox: Sandbox) -> str:
        """What is wrong; nothing where the promise is kept."""
        try:
            outcome = judge.check(self.exercise.id, self.file(), sandbox)
        except LookupError as error:
            return str(error)
        said = "\n".join([outcome.headline, *(f"{label}: {text}" for label, text in outcome.rows)])
        kept = outcome.status == self.status and self.said in said and self.unsaid not in said
        return "" if kept else str(outcome)


def promises(exercise: Exercise) -> Iterator[Promise]:
    """All that is promised of an exercise whose folder lacks nothing. Nothing is run, compiled or imported yet."""
    promise, language = partial(Promise, exercise), exercise.language
    with_body = partial(language.render, exercise.file)

    def with_answer(path: Path) -> str:
        return language.with_answer(exercise, path.read_text(encoding="utf-8"))

    # A stub that counts as failed would greet the learner with red.
    yield promise("stub", with_body, judge.NOT_ATTEMPTED)
    if idle := language.idle(exercise):
        # A stub that does not compile is worthless to a learner. A statement of no effect makes it count as attempted.
        yield promise("idle stub", partial(with_body, {exercise.id: idle}), judge.FAILED, unsaid=judge.NOT_COMPILED)
    # A check that refuses the engine's own function is wrong; one that insists on one way of writing is, too.
    same = judge.AS_GOOD if exercise.score else ""
    yield promise("reference", partial(language.solved, exercise.file), judge.PASSED, same)
    for path in answers(exercise, "right"):
        yield promise(f"right/{path.name}", partial(with_answer, path), judge.PASSED, expected(path))
    # A mistake that passes shows a hole in the check; one with another's message misleads the learner.
    for number, mistake in enumerate(exercise.mistakes, 1):
        cause = f"Likely cause: {mistake.message}"
        yield promise(f"mistake {number}", partial(mistaken, exercise, mistake), judge.FAILED, cause)
    # A wrong answer that passed once must never pass again, nor be told something else than what is wrong.
    for path in answers(exercise, "wrong"):
        yield promise(f"wrong/{path.name}", partial(with_answer, path), judge.FAILED, expected(path), "Score:")


def answers(exercise: Exercise, kind: str) -> list[Path]:
    """The files in the folder `right` or `wrong` of an exercise."""
    return sorted(path for path in (exercise.folder / kind).glob("[!.]*") if path.is_file())


def expected(path: Path) -> str:
    """A part of what the check says of an answer: it stands in the file's first line."""
    found = re.match(r"(?:#|//) expect: (\S.*)", path.read_text(encoding="utf-8"))
    return found[1].strip() if found else ""


def lacks(exercise: Exercise) -> list[str]:
    """What an exercise's folder still lacks or has wrong, a sentence each, beyond what `registry` refuses."""
    folder, language = exercise.folder, exercise.language
    right, wrong = answers(exercise, "right"), answers(exercise, "wrong")
    paths = [folder / "exercise.toml", folder / "statement.md", folder / "check.py", *right, *wrong]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    todo = ((path, text, match) for path, text in texts.items() for match in re.finditer(r'TODO[^"\n]*', text))
    if left := [
        f"{path.relative_to(folder)}, line {text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text, match in todo
    ]:
        return left
    different = {language.code(texts[path]) for path in right} - {language.code(language.reference(exercise))}
    few = f"right/ has {len(different)} answers that differ from each other and the engine's; expected 3"
    no_worse = f'right/: expected an answer with a larger score, a comment "expect: {judge.WORSE}" in its line 1'
    found = {
        "statement.md is empty": not exercise.statement,
        f"exercise.toml has {len(exercise.mistakes)} mistakes; at least 2 are expected": len(exercise.mistakes) < 2,
        few: len(different) < max(3, len(right)),
        no_worse: exercise.score and judge.WORSE not in map(expected, right),
    }
    for path in right + wrong:
        found[f"{path.relative_to(folder)}: expected a {language.suffix} file"] = path.suffix != language.suffix
    for path in wrong:
        said = f'wrong/{path.name}: expected a comment "expect: part of what the check says" in line 1'
        found[said] = not expected(path)
    return [*(text for text, is_so in found.items() if is_so), *_stale(exercise)]


def _stale(exercise: Exercise) -> Iterator[str]:
    """The mistakes, and the one put in, that quote text which the engine's function does not have exactly once."""
    changes = {f"mistake {number}": (each.old, each.new) for number, each in enumerate(exercise.mistakes, 1)}
    for name, change in (changes | ({"broken": exercise.broken} if exercise.broken else {})).items():
        try:
            exercise.language.changed(exercise, *change)
        except LookupError as error:
            yield f"exercise.toml, {name}: {error}"
