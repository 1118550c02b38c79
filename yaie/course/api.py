"""What learners call, in a notebook and in a terminal alike: `exercise("1.2").check()`, `board()`, `doctor()`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

import torch

from yaie.course import files, judge, progress
from yaie.course.language import CUDA
from yaie.course.registry import Exercise, Lesson, exercises, find, find_exercise, lessons
from yaie.course.sandbox import SandboxError
from yaie.course.show import Fold, Folds, Markdown, Panel, Views

if TYPE_CHECKING:
    import yaie.cuda

TONES = {**judge.TONES, progress.CHANGED: "warn"}
SHOWN = 8  # mistakes that a solution tells of: the first ones


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
        buttons = {"Check": "check()", "Hint": "hint()", "Solution": "solution()", "Reset": "reset(ask=True)"}
        calls = [(label, f'yaie.exercise("{exercise.id}").{call}') for label, call in buttons.items()]
        return Panel(title, text=statement, rows=rows, link=files.told_path(exercise.file), calls=calls)

    def check(self) -> Panel:
        """Run the check on what stands in your file now, and record what came out."""
        wanted = os.environ.get("YAIE_EXPECT")  # the test suite runs the notebooks with and without solutions
        try:
            outcome = judge.check(self._exercise.id)
        except SandboxError as error:
            if wanted:
                raise
            return Panel(f"{self._exercise.id} could not be checked", tone="bad", text=str(error))
        before = _recorded_as_passed()
        problem = progress.remember(outcome)
        if wanted and outcome.status != wanted:
            raise AssertionError(f"the test suite expects {wanted!r}:\n{outcome}")
        outcome.rows += _not_stored(problem)
        panel, now = outcome.panel(), _recorded_as_passed()
        if now > before and (reached := milestone(now)) not in (None, milestone(before)):
            panel.rows += [("Milestone", f"{reached.title}. {reached.text}"), *reached.rows]
            panel.calls += reached.calls
        return panel

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
        mistakes = "\n".join(f"- {mistake.message}" for mistake in exercise.mistakes[:SHOWN])
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


def board(*, unfold: bool = False) -> Folds:
    """A bar for each lesson, and what comes next. Lessons that you have begun are unfolded; with `unfold` every one."""
    lines, problems = progress.board()
    following, folds = _next(lines), []
    for lesson in lessons():
        own = [line for line in lines if line.exercise.lesson is lesson]
        begun = {line.status for line in own} & {judge.FAILED, progress.CHANGED}
        is_open = unfold or bool(begun) or (following is not None and following.lesson is lesson)
        folds.append(Fold(f"{lesson.number:02d} {lesson.title}", [(TONES[x.status], _cells(x)) for x in own], is_open))
    passed = [line.exercise.id for line in lines if line.status == judge.PASSED]
    footer = [*problems, f"{len(passed)} of {len(lines)} passed. {next_step(lines)}"]
    link = f"notebooks/{following.lesson.name}.ipynb" if following else ""
    return Folds("Your exercises", folds, "\n".join(footer), link, milestone(passed))


def _recorded_as_passed() -> set[str]:
    return {id for id, record in progress.load()[0].items() if record.status == judge.PASSED}


def _cells(line: progress.Line) -> tuple[str, ...]:
    counts = ((line.record.checks, "check"), (line.record.hints, "hint"))
    done = ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts if count)
    return line.exercise.id, line.exercise.title, line.status, done


def _next(lines: list[progress.Line]) -> Exercise | None:
    return next((line.exercise for line in lines if line.status != judge.PASSED), None)


def next_step(lines: list[progress.Line]) -> str:
    exercise = _next(lines)
    if exercise is None:
        return "Everything there is has been passed."
    place = f"in notebooks/{exercise.lesson.name}.ipynb"
    return f"Next: {exercise.id} {exercise.title}, about {exercise.minutes} minutes, {place}"


# What all exercises of some lessons make together: first lesson, last lesson, title, sentence. The best comes last.
MILESTONES = (
    (0, 7, "Your engine talks", "Prefix cache, pages, attention, sampling and scheduler are functions that you wrote."),
    (8, 17, "Your kernels serve", "The kernels, from copies of pages to flash attention on tensor cores, are yours."),
    (0, 99, "The course is done", "No exercise is left. Take a kernel of yours, profile it, and write a faster one."),
)


def milestone(passed: Iterable[str]) -> Panel | None:
    """The best milestone that exercises with these ids make, with how to see their functions run."""
    passed = set(passed)
    reached = [
        (title, sentence, ours)
        for first, last, title, sentence in MILESTONES
        if passed >= (ours := {each.id: each for each in exercises() if first <= each.lesson.number <= last}).keys()
    ]
    if not reached:
        return None
    title, sentence, ours = reached[-1]
    records = [record for id, record in progress.load()[0].items() if id in ours]
    took = f"{sum(each.checks for each in records)} checks and {sum(each.hints for each in records)} hints"
    engines = [each for each in ours.values() if not each.module.startswith("yaie.course.")]  # the others are inputs
    homes = Counter("csrc" if each.language is CUDA else each.module.rpartition(".")[0] for each in engines)
    places = ", ".join(f"{count} in `{home.replace('.', '/')}/`" for home, count in homes.most_common())
    emulated = homes["csrc"] and not torch.cuda.is_available()
    talk = "`yaie chat --exercises --backend emulator`" if emulated else "`yaie chat --exercises`"
    engine = f"""yaie.LLM(parts="exercises"{', backend="emulator"' if emulated else ""})"""
    question = '[[{"role": "user", "content": "418+95="}]]'
    rows = [("Yours", f"{len(engines)} functions of the engine: {places}"), ("It took", took), ("See them run", talk)]
    calls = [("Whose code runs", f"{engine}.parts"), ("Ask it 418+95=", f"{engine}.generate({question})[0].text")]
    return Panel(title, "good", sentence, rows, calls=calls)


def each_check(what: str) -> Iterator[Panel]:
    """Check one exercise ("1.2") or all of a lesson ("1" or "01"), one after the other."""
    found = find(what)
    for each in found.exercises if isinstance(found, Lesson) else [found]:
        yield ExerciseHandle(each).check()


def check(what: str) -> Views:
    """As `each_check`, all at once."""
    return Views(each_check(what))


def reset(what: str) -> Panel:
    """Reset one exercise ("1.2") or a lesson's files ("1" or "01"); a backup is kept."""
    found, rows = find(what), []
    whole = isinstance(found, Lesson)
    name = f"The file of lesson {found.number:02d}" if whole else f"Exercise {found.id}"
    try:
        for each in found.files if whole else [found]:
            backup = files.reset_file(each) if whole else files.reset_exercise(each)
            rows.append(("Backup", str(backup or "none: nothing else stood there")))
            for exercise in each.exercises if whole else [each]:
                progress.forget(exercise)
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
    by_state = {state: [name for name in done if done[name] == state] for state in done.values()}
    rows = [(state.capitalize(), ", ".join(names)) for state, names in by_state.items() if state != files.SAME]
    title = "Your exercise files" if rows else "Your exercise files are up to date"
    left = ", ".join(f"`yaie reset {int(name[:2])}`" for name in by_state.get(files.LEFT, ()))
    if left:
        rows.append(
            ("Then", f"What is new could not be merged with what you wrote. Start again: {left} (with a backup).")
        )
    if files.MERGED in by_state:
        rows.append(("Backups", str(files.exercises_dir() / ".backup")))
    return Panel(title, "warn" if left else "neutral", rows=rows)


def cache(*, clear: bool = False) -> Panel:
    """Where compiled kernels are kept, and how much they take; `clear` removes them."""
    from yaie.cuda import cache as builds

    def megabytes(size: int) -> str:
        return f"{size / 1e6:.0f} MB"

    rows = [("Freed", megabytes(builds.clear()))] if clear else []
    number, size = builds.usage()
    rows += [("Folder", str(builds.folder())), ("Files", str(number)), ("Size", megabytes(size))]
    rows += [("At most", f"{megabytes(builds.size_limit())}: beyond it, what was used longest ago goes")]
    return Panel("Compiled kernels", text="Each is made again when it is needed.", rows=rows)


def problem_panel(problem: files.FileProblem) -> Panel:
    """Why a file cannot be worked with."""
    return Panel("This file cannot be used yet", "bad", problem.problem, [("Next step", problem.next_step)])


def _not_stored(problem: str) -> list[tuple[str, str]]:
    return [("Not stored", problem)] if problem else []
