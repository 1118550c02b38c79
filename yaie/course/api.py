"""What learners call, in a notebook and in a terminal alike: `exercise("1.2").check()`, `board()`, `doctor()`."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from yaie.course import files, judge, progress
from yaie.course.registry import Exercise, ExerciseFile, Lesson, find, find_exercise
from yaie.course.sandbox import SandboxError
from yaie.course.show import Markdown, Panel, Table

if TYPE_CHECKING:
    import yaie.cuda

TONES = {**judge.TONES, progress.CHANGED: "warn"}


class ExerciseHandle:
    """One exercise. Shown as a card in a notebook."""

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise

    def card(self) -> Panel:
        """What is asked for, and where to write it."""
        exercise = self._exercise
        with suppress(files.FileProblem):  # a check will say so
            files.make(exercise.file)  # what the card links to
        rows = [("Function", f"`{exercise.qualname}`"), ("Time", f"about {exercise.minutes} minutes")]
        rows += [("After", ", ".join(exercise.requires))] if exercise.requires else []
        title, statement = f"Exercise {exercise.id}: {exercise.title}", Markdown(exercise.statement)
        arguments = {"check": "", "hint": "", "solution": "", "reset": "ask=True"}
        calls = [
            (name.capitalize(), f'yaie.exercise("{exercise.id}").{name}({given})') for name, given in arguments.items()
        ]
        return Panel(title, text=statement, rows=rows, link=f"exercises/{exercise.file.name}", calls=calls)

    def check(self) -> Panel:
        """Run the check on what stands in your file now, and record what came out."""
        wanted = os.environ.get("YAIE_EXPECT")  # the test suite runs the notebooks with and without solutions
        try:
            outcome = judge.check(self._exercise.id)
        except SandboxError as error:
            if wanted:
                raise
            return Panel(f"{self._exercise.id} could not be checked", tone="bad", text=str(error))
        problem = progress.remember(outcome)
        if wanted and outcome.status != wanted:
            raise AssertionError(f"the test suite expects {wanted!r}:\n{outcome}")
        outcome.rows += _not_stored(problem)
        return outcome.panel()

    def hint(self, number: int | None = None) -> Panel:
        """The next hint; with a number, that one (1 to 3)."""
        id, hints = self._exercise.id, self._exercise.hints
        if number is not None and (type(number) is not int or not 1 <= number <= len(hints)):
            raise ValueError(f"hint {number!r} of exercise {id}: there are hints 1 to {len(hints)}")
        seen = progress.load()[0].get(id, progress.Record()).hints
        number = number or min(seen + 1, len(hints))
        problem = progress.change(id, lambda record: setattr(record, "hints", max(record.hints, number)))
        left = len(hints) - number
        last = "That was the last one; the solution notebook explains the answer."
        rows = [("Then", f"{left} more: ask again." if left else last), *_not_stored(problem)]
        return Panel(f"Hint {number} of {len(hints)} for exercise {id}", text=hints[number - 1], rows=rows)

    def reset(self, *, ask: bool = False) -> Panel:
        """Take your answer out again; a backup is kept. With `ask` only if you say so."""
        id = self._exercise.id
        if ask and input(f"Take your answer to {id} out of the file? A backup is kept. (yes/no) ").strip() != "yes":
            return Panel(f"Exercise {id} stays as it is")
        return reset(id)

    def solution(self) -> Panel:
        """What was asked for, the engine's own source of the function, and what often goes wrong."""
        exercise = self._exercise
        fence = "`" * 4  # a source may quote a fence of three
        source = f"{fence}{exercise.language.fence}\n{exercise.language.solution(exercise)}\n{fence}"
        mistakes = "\n".join(f"- {mistake.message}" for mistake in exercise.mistakes)
        text = f"{exercise.statement.strip()}\n\n{source}\n\n**What often goes wrong**\n\n{mistakes}\n"
        return Panel(f"Solution of exercise {exercise.id}: {exercise.title}", text=Markdown(text))

    def module(self, backend: str = "auto", *, check: bool = True) -> yaie.cuda.Module:
        """The launchers of the engine's CUDA file with your function in it; the engine's own where you have none yet.
        (A function that you are to fix is the broken one until then.)

        To call it and to `profile()` it. `backend` is "emulator", "cuda", or "auto": the GPU if there is one. Without
        `check` the emulator looks for no mistakes and is much faster. Raises `FileProblem` where your file cannot be
        used and `CompileError` where it does not compile.
        """
        return self._exercise.language.module(self._exercise, files.read(self._exercise.file), backend, check)

    def as_found(self) -> AbstractContextManager[None]:
        """`with exercise.as_found():` has the engine run the broken function as it was given to you, and no longer.

        Raises ValueError where the exercise has none.
        """
        return self._exercise.language.as_found(self._exercise)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.card()._repr_mimebundle_()

    def __repr__(self) -> str:
        return str(self.card())


def exercise(id: str) -> ExerciseHandle:
    """The exercise with that id, such as "1.2"."""
    return ExerciseHandle(find_exercise(id))


def board() -> Table:
    """Every exercise with its state, lesson by lesson, and what comes next."""
    lines, problems = progress.board()
    rows, lesson = [], None
    for line in lines:
        if line.exercise.lesson is not lesson:
            lesson = line.exercise.lesson
            rows.append(("", (f"{lesson.number:02d}", lesson.title, "", "", "")))
        cells = (line.exercise.id, line.exercise.title, line.status, str(line.record.checks), str(line.record.hints))
        rows.append((TONES[line.status], cells))
    passed = sum(line.status == judge.PASSED for line in lines)
    footer = [*problems, f"{passed} of {len(lines)} passed. {next_step(lines)}"]
    return Table("Your exercises", ("", "Exercise", "State", "Checks", "Hints"), rows, "\n".join(footer))


def next_step(lines: list[progress.Line]) -> str:
    """What comes next, in a sentence."""
    exercise = next((line.exercise for line in lines if line.status != judge.PASSED), None)
    if exercise is None:
        return "Everything there is has been passed."
    return f"Next: {exercise.id} {exercise.title}, in notebooks/{exercise.lesson.name}.ipynb"


def reset(what: str) -> Panel:
    """Reset one exercise ("1.2") or a lesson's files ("1" or "01"); a backup is kept."""
    found = find(str(what) if type(what) is int else what)
    rows, name = [], f"The file of lesson {found.number:02d}" if isinstance(found, Lesson) else f"Exercise {found.id}"
    try:
        if isinstance(found, Lesson) and not found.files:
            raise files.FileProblem(f"Lesson {found.number} has no exercises.", "There is nothing to put back.")
        for each in found.files if isinstance(found, Lesson) else [found]:
            backup = _reset_file(each) if isinstance(each, ExerciseFile) else _reset_exercise(each)
            rows.append(("Backup", str(backup or "none: nothing else stood there")))
    except files.FileProblem as problem:
        panel = problem_panel(problem)
        panel.rows += rows
        return panel
    return Panel(f"{name} is as it was generated", rows=[*rows, ("Then", "Reload the file if an editor has it open.")])


def update() -> Panel:
    """Bring your exercise files up to date with the course, such as after `git pull`: new exercises come in, and what
    you wrote stays. A backup is kept of each file that you have edited."""
    from yaie.course.tools import generate

    try:
        done = generate.write(files.exercises_dir())
    except files.FileProblem as problem:
        return problem_panel(problem)
    by_state = {state: [name for name in done if done[name] == state] for state in dict.fromkeys(done.values())}
    rows = [(state.capitalize(), ", ".join(names)) for state, names in by_state.items() if state != files.SAME]
    tone = "neutral"
    if left := by_state.get(files.LEFT):
        tone = "warn"
        resets = ", ".join(f"`yaie reset {int(name[:2])}`" for name in left)
        rows.append(
            ("Then", f"What is new could not be put beside what you wrote. Start afresh: {resets} (with a backup).")
        )
    if files.MERGED in by_state:
        rows.append(("Backups", str(files.exercises_dir() / ".backup")))
    return Panel("Your exercise files are up to date" if not rows else "Your exercise files", tone, rows=rows)


def cache(*, clear: bool = False) -> Panel:
    """Where compiled kernels are kept, and how much they take; `clear` removes them."""
    from yaie.cuda import cache as builds

    rows = [("Freed", _megabytes(builds.clear()))] if clear else []
    number, size = builds.usage()
    rows += [("Folder", str(builds.folder())), ("Files", str(number)), ("Size", _megabytes(size))]
    rows += [("At most", f"{_megabytes(builds.size_limit())}: beyond it, what was used longest ago goes")]
    return Panel("Compiled kernels", text="Each is made again when it is needed.", rows=rows)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _reset_exercise(exercise: Exercise) -> Path | None:
    try:
        backup = files.reset_exercise(exercise)
    except files.FileMissing:
        return _reset_file(exercise.file)
    progress.forget(exercise)
    return backup


def _reset_file(file: ExerciseFile) -> Path | None:
    backup = files.reset_file(file)
    for exercise in file.exercises:
        progress.forget(exercise)
    return backup


def problem_panel(problem: files.FileProblem) -> Panel:
    """Why a file cannot be worked with."""
    return Panel("This file cannot be used yet", "bad", problem.problem, [("Next step", problem.next_step)])


def _not_stored(problem: str) -> list[tuple[str, str]]:
    return [("Not stored", problem)] if problem else []
