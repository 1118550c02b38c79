"""What a lesson and an exercise are, and where all of them are found.

A lesson module (`yaie/course/lessons/lesson_NN_topic.py`) makes one `Lesson` and hangs exercises on it. An exercise
names a function of the engine (its *target*), so there is no second copy of any code here: the stub a learner gets,
the reference solution and every mutant are derived from the engine's own source.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """A plausible wrong answer: the engine's function with `old` replaced by `new`, and what to tell its author.

    `old` must occur exactly once in the function. The message names the likely cause in one or two sentences; a learner
    sees it when their answer goes wrong on the same input in the same way.
    """

    old: str
    new: str
    message: str


@dataclass(frozen=True)
class Exercise:
    """One function of the engine that a learner writes.

    `target` is "package.module:qualified.name" for Python. `check` calls the engine (into which the learner's function
    has been put) and raises through `yaie.course.expect.expect` at the first wrong result; it tries small inputs first,
    so the failing input it shows is small. `time_limit` is in seconds.
    """

    id: str
    title: str
    target: str
    minutes: int
    task: str
    hints: tuple[str, str, str]
    mutants: tuple[Mutant, ...]
    check: Callable[[], None]
    lesson: Lesson
    requires: tuple[str, ...] = ()
    time_limit: float = 10.0

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def qualname(self) -> str:
        return self.target.partition(":")[2]

    @property
    def function(self) -> str:
        return self.qualname.rpartition(".")[2]


@dataclass
class Lesson:
    """A numbered lesson: one notebook, one exercise file, one solution notebook, all with the same name."""

    number: int
    topic: str
    title: str
    minutes: int
    exercises: list[Exercise] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.number:02d}_{self.topic}"

    @property
    def exercise_file(self) -> str:
        return f"{self.name}.py"

    def exercise(
        self,
        id: str,
        *,
        title: str,
        target: str,
        minutes: int,
        task: str,
        hints: tuple[str, str, str],
        mutants: tuple[Mutant, ...],
        requires: tuple[str, ...] = (),
        time_limit: float = 10.0,
    ) -> Callable[[Callable[[], None]], Callable[[], None]]:
        """Decorator for the check of an exercise; adds the exercise to this lesson."""

        def add(check: Callable[[], None]) -> Callable[[], None]:
            fields = (id, title, target, minutes, task, hints, mutants, check, self, requires, time_limit)
            self.exercises.append(Exercise(*fields))
            return check

        return add


@cache
def lessons() -> tuple[Lesson, ...]:
    """All lessons in the order in which they are taken."""
    package = importlib.import_module("yaie.course.lessons")
    names = sorted(
        module.name for module in pkgutil.iter_modules(package.__path__) if module.name.startswith("lesson_")
    )
    return tuple(importlib.import_module(f"{package.__name__}.{name}").LESSON for name in names)


def exercises() -> tuple[Exercise, ...]:
    """All exercises in the order in which they are taken."""
    return tuple(exercise for lesson in lessons() for exercise in lesson.exercises)


def find_lesson(number: int) -> Lesson:
    """The lesson with that number. Raises KeyError that names the numbers there are."""
    for lesson in lessons():
        if lesson.number == number:
            return lesson
    raise KeyError(f"there is no lesson {number}; there are {', '.join(str(x.number) for x in lessons())}")


def find_exercise(id: str) -> Exercise:
    """The exercise with that id, such as "1.2". Raises KeyError that names the ids there are."""
    for exercise in exercises():
        if exercise.id == str(id):
            return exercise
    raise KeyError(f"there is no exercise {id!r}; there are {', '.join(x.id for x in exercises())}")
