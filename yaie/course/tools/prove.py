"""What is promised of every exercise, and whether it is kept. The tests and `yaie dev check` go through one list."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from yaie.course import checks, cuda_source, generate
from yaie.course.registry import Exercise, Mistake
from yaie.course.sandbox import Sandbox


class Remembering(Sandbox):
    """A sandbox that runs the same job once: the check of each mistake tries the mistakes before it, too."""

    def __init__(self) -> None:
        super().__init__()
        self._reports: dict[str, dict[str, Any]] = {}

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        key = json.dumps(job, sort_keys=True)
        if key not in self._reports:
            self._reports[key] = super().run(job)
        return self._reports[key]


@dataclass(frozen=True)
class Promise:
    """What the check of an exercise says when the learner's file has a certain text."""

    exercise: Exercise
    name: str  # "mistake 2", "right/1.py"
    text: str  # what is promised
    file: Callable[[], str]
    kept: Callable[[checks.Outcome], bool]

    def broken(self, sandbox: Sandbox) -> str:
        """What is wrong; nothing where the promise is kept."""
        try:
            outcome = checks.check(self.exercise.id, self.file(), sandbox)
        except LookupError as error:
            return str(error)
        return "" if self.kept(outcome) else str(outcome)


def promises(exercise: Exercise) -> Iterator[Promise]:
    """All that is promised of an exercise whose folder lacks nothing. Nothing is run, compiled or imported yet."""
    promise = partial(Promise, exercise)
    with_body = partial(generate.exercise_file, exercise.file)

    def passed(outcome: checks.Outcome) -> bool:
        return outcome.passed

    def told(cause: str, outcome: checks.Outcome) -> bool:
        return outcome.status == checks.FAILED and ("Likely cause", cause) in outcome.rows

    def failed(text: str, outcome: checks.Outcome) -> bool:
        said = "\n".join([outcome.headline, *(row for _, row in outcome.rows)])
        return outcome.status == checks.FAILED and text in said

    def compiles_and_fails(outcome: checks.Outcome) -> bool:
        return outcome.status == checks.FAILED and outcome.headline != "It does not compile."

    # A stub that counts as failed would greet the learner with red.
    yield promise("stub", "is not attempted", with_body, lambda outcome: outcome.status == checks.NOT_ATTEMPTED)
    if exercise.is_cuda:
        # A stub that does not compile is worthless to a learner. A statement of no effect makes it count as attempted.
        body = lambda: generate.stub(exercise).replace("{", "{ (void)0;", 1)  # noqa: E731
        yield promise("idle stub", "compiles and fails", lambda: with_body({exercise.id: body()}), compiles_and_fails)
    # A check that refuses the engine's own function is wrong; one that insists on one way of writing is, too.
    yield promise("reference", "passes", lambda: generate.solved_file(exercise.file), passed)
    for path in answers(exercise, "right"):
        yield promise(f"right/{path.name}", "passes", partial(with_answer, exercise, path), passed)
    # A mistake that passes shows a hole in the check; one with another's message misleads the learner.
    for number, mistake in enumerate(exercise.mistakes, 1):
        file = lambda mistake=mistake: with_body({exercise.id: generate.mutated(exercise, mistake)})  # noqa: E731
        text = mistake.message
        yield promise(f"mistake {number}", f"fails: {text}", file, partial(told, text))
    # A wrong answer that passed once must never pass again, nor be told something else than what is wrong.
    for path in answers(exercise, "wrong"):
        text = expected(path)
        yield promise(
            f"wrong/{path.name}", f"fails: {text}", partial(with_answer, exercise, path), partial(failed, text)
        )


def answers(exercise: Exercise, kind: str) -> list[Path]:
    """The files in the folder `right` or `wrong` of an exercise."""
    return sorted(path for path in (exercise.folder / kind).glob("[!.]*") if path.is_file())


def expected(path: Path) -> str:
    """A part of what the check says of a wrong answer: it stands in the file's first line."""
    found = re.match(r"(?:#|//) expect: (\S.*)", path.read_text(encoding="utf-8"))
    return found[1].strip() if found else ""


def with_answer(exercise: Exercise, path: Path) -> str:
    """The exercise file with the function of a file of right/ or wrong/ in it, and with all else that this file has."""
    text = path.read_text(encoding="utf-8")
    if exercise.is_cuda:
        return generate.exercise_file(exercise.file, {exercise.id: text.strip()})
    node = generate.find_function(ast.parse(text), exercise.function)
    if node is None:
        raise LookupError(f"{path}: there is no function `{exercise.function}`")
    lines, start, end = text.splitlines(), generate.first_line(node) - 1, node.end_lineno
    file = generate.exercise_file(exercise.file, {exercise.id: "\n".join(lines[start:end])})
    top = "from __future__ import annotations\n"  # imports of the answer come before those of the file, which override
    return file.replace(top, "\n".join([top, *lines[:start], *lines[end:], ""]), 1)


def lacks(exercise: Exercise) -> list[str]:
    """What an exercise's folder still lacks or has wrong, a sentence each, beyond what `registry` refuses."""
    right, wrong = answers(exercise, "right"), answers(exercise, "wrong")
    paths = [exercise.folder / name for name in ("exercise.toml", "statement.md", "check.py")] + right + wrong
    texts = {path.relative_to(exercise.folder): path.read_text(encoding="utf-8") for path in paths}
    found = [
        f"{name}, line {number}: {line[line.index('TODO') :]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if "TODO" in line
    ]
    if found:
        return found
    if not exercise.statement:
        found.append("statement.md is empty")
    if len(exercise.mistakes) < 2:
        found.append(f"exercise.toml has {len(exercise.mistakes)} mistakes; at least 2 are expected")
    found += stale(exercise)
    for path in right + wrong:
        if path.suffix != exercise.file.suffix:
            found.append(f"{path.relative_to(exercise.folder)}: expected a {exercise.file.suffix} file")
    different = {_code(exercise, path.read_text(encoding="utf-8")) for path in right}
    different.discard(_code(exercise, generate.reference(exercise)))
    if len(different) < 3 or len(different) < len(right):
        found.append(f"right/ has {len(different)} answers that differ from each other and the engine's; expected 3")
    for path in wrong:
        if not expected(path):
            found.append(f'wrong/{path.name}: expected a comment "expect: part of what the check says" in line 1')
    return found


def stale(exercise: Exercise) -> list[str]:
    """The mistakes, and the one put in, that quote text which the engine's function does not have exactly once."""
    reference = generate.reference(exercise)
    changes = [(f"mistake {number}", mistake) for number, mistake in enumerate(exercise.mistakes, 1)]
    changes += [("broken", Mistake(*exercise.broken, ""))] if exercise.broken else []
    return [
        f"exercise.toml, {name}: expected `old` exactly once in {exercise.target}: {change.old!r}"
        for name, change in changes
        if not change.fits(reference)
    ]


def _code(exercise: Exercise, text: str) -> str:
    """What an answer says, whatever its layout and comments."""
    return cuda_source.normal(text) if exercise.is_cuda else ast.dump(ast.parse(text))
