"""What learners call, in a notebook and in a terminal alike: `exercise("1.2").check()`, `board()`, `doctor()`."""

from __future__ import annotations

import os

from yaie.course import checks, doctor, files, learner, progress
from yaie.course.generate import reference
from yaie.course.registry import Exercise, find_exercise, lessons
from yaie.course.show import Panel, Table

TONE = {checks.PASSED: "good", checks.FAILED: "bad", checks.NOT_ATTEMPTED: "open", progress.CHANGED: "warn"}


class ExerciseHandle:
    """One exercise. Shown as a card in a notebook."""

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise

    def card(self) -> Panel:
        """What is asked for, and where to write it."""
        exercise = self._exercise
        requires = ", ".join(exercise.requires) or "nothing"
        rows = [
            ("Function", f"`{exercise.qualname}`"),
            ("Time", f"about {exercise.minutes} minutes"),
            ("After", requires),
        ]
        name = exercise.lesson.exercise_file
        return Panel(
            f"Exercise {exercise.id}: {exercise.title}",
            text=exercise.task,
            rows=rows,
            link=(f"exercises/{name}", f"../exercises/{name}"),
        )

    def check(self) -> Panel:
        """Run the check on what stands in your file now, and record what came out."""
        outcome = checks.check(self._exercise.id)
        progress.remember(outcome)
        wanted = os.environ.get("YAIE_EXPECT")  # the test suite runs the notebooks with and without solutions
        if wanted and outcome.status != wanted:
            raise AssertionError(f"the test suite expects {wanted!r}:\n{outcome}")
        return outcome_panel(outcome)

    def hint(self, number: int | None = None) -> Panel:
        """The next hint; with a number, that one (1 to 3)."""
        exercise = self._exercise
        if number is not None and not 1 <= number <= len(exercise.hints):
            raise ValueError(
                f"hint {number} of exercise {exercise.id}: there are hints 1 to {len(exercise.hints)}"
            )
        with progress.update(exercise.id) as record:
            number = number or min(record.hints + 1, len(exercise.hints))
            record.hints = max(record.hints, number)
        left = len(exercise.hints) - number
        more = (
            f"{left} more: ask again."
            if left
            else "That was the last one; the solution notebook explains the answer."
        )
        title = f"Hint {number} of {len(exercise.hints)} for exercise {exercise.id}"
        return Panel(title, text=exercise.hints[number - 1], rows=[("Then", more)])

    def reset(self) -> Panel:
        """Take your answer out again; a backup is kept."""
        backup = files.reset_exercise(self._exercise)
        return _reset_panel(f"Exercise {self._exercise.id}", backup)

    def solution(self) -> None:
        """Print the engine's own source of this function."""
        print(reference(self._exercise))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return self.card()._repr_mimebundle_()

    def __repr__(self) -> str:
        return str(self.card())


def exercise(id: str) -> ExerciseHandle:
    """The exercise with that id, such as "1.2"."""
    return ExerciseHandle(find_exercise(id))


def outcome_panel(outcome: checks.Outcome) -> Panel:
    """What a check found, to be shown."""
    exercise = outcome.exercise
    name = exercise.lesson.exercise_file
    return Panel(
        f"{exercise.id} {exercise.title}: {outcome.status}",
        tone=TONE[outcome.status],
        text=outcome.headline,
        rows=outcome.rows,
        link=None if outcome.passed else (f"exercises/{name}", f"../exercises/{name}"),
    )


def board() -> Table:
    """Every exercise with its state, and what comes next."""
    lines = progress.board()
    rows = [
        (
            TONE[line.status],
            (line.exercise.id, line.exercise.title, _state(line), str(line.checks), str(line.hints)),
        )
        for line in lines
    ]
    passed = sum(line.status == checks.PASSED for line in lines)
    following = progress.next_line(lines)
    footer = f"{passed} of {len(lines)} passed. "
    if following is None:
        footer += "Everything that there is has been passed."
    else:
        upcoming = following.exercise
        footer += f"Next: {upcoming.id} {upcoming.title}, in notebooks/{upcoming.lesson.name}.ipynb"
    return Table("Your exercises", ("", "Exercise", "State", "Checks", "Hints"), rows, footer)


def _state(line: progress.Line) -> str:
    return "edited, not checked since" if line.status == progress.CHANGED else line.status


def examine() -> Table:
    """What this machine can do for the course, and what to do about each lack."""
    tones = {doctor.GOOD: "good", doctor.LIMITED: "warn", doctor.BAD: "bad"}
    findings = doctor.diagnose()
    rows = [(tones[finding.state], (finding.name, finding.found, finding.advice)) for finding in findings]
    stopped = [finding.name for finding in findings if finding.state == doctor.BAD]
    footer = f"To be mended first: {', '.join(stopped)}." if stopped else "You can start."
    return Table("This machine", ("What", "Found", "What to do"), rows, footer)


def reset(what: str) -> Panel:
    """Reset one exercise ("1.2") or a lesson's whole file ("1")."""
    if "." in str(what):
        return exercise(what).reset()
    numbers = {str(lesson.number): lesson for lesson in lessons()}
    if str(what).lstrip("0") not in numbers and str(what) not in numbers:
        raise KeyError(f"there is no lesson {what!r}; there are {', '.join(numbers)}")
    lesson = numbers.get(str(what)) or numbers[str(what).lstrip("0")]
    return _reset_panel(f"Lesson {lesson.number:02d}", files.reset_lesson(lesson))


def _reset_panel(name: str, backup: object) -> Panel:
    rows = [("Backup", str(backup))] if backup else []
    return Panel(f"{name} is as it was generated", text="", rows=rows)


def problem_panel(problem: learner.FileProblem) -> Panel:
    """Why a file cannot be worked with."""
    return Panel(problem.problem, tone="bad", rows=[("Next step", problem.next_step)])
