"""What a lesson and an exercise are, and where all of them are found.

A lesson module (`yaie/course/lessons/lesson_NN_topic.py`) makes one `Lesson` and hangs exercises on it. An exercise
names a function of the engine (its *target*), so there is no second copy of any code here: the stub a learner gets,
the reference solution and every mutant are derived from the engine's own source. The target also says in which file the
learner writes: functions of `yaie/` in a `.py` file, functions of `csrc/` in a `.cu` file of the same name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from yaie.course import REPOSITORY as REPOSITORY
from yaie.course.language import CUDA, PYTHON, Language, language_of


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

    `target` is "package.module:qualified.name" for Python and "csrc/folder/file.cu:function_name" for CUDA (a kernel,
    a device function, a template). `check` calls the engine (into which the learner's function has been put; CUDA
    through `yaie.kernels.native.module(..., "emulator", check=True)`) and raises through `yaie.course.expect.expect` at
    the first wrong result; it tries small inputs first, so the failing input it shows is small. `time_limit` is in
    seconds.

    With `broken` = (old, new) the learner does not get an empty function but the engine's with `old`, which occurs once
    in it, replaced by `new`, and is to find that mistake and fix it.
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
    broken: tuple[str, str] | None = None

    @property
    def module(self) -> str:
        """The Python module ("yaie.kernels.kv_cache") or the CUDA file ("csrc/memory/copy_blocks.cu")."""
        return self.target.partition(":")[0]

    @property
    def qualname(self) -> str:
        return self.target.partition(":")[2]

    @property
    def function(self) -> str:
        return self.qualname.rpartition(".")[2]

    @property
    def language(self) -> Language:
        return language_of(self.module)

    @property
    def statement(self) -> str:
        """What is asked for, in Markdown."""
        return self.task

    @property
    def mistakes(self) -> tuple[Mutant, ...]:
        return self.mutants

    @property
    def file(self) -> ExerciseFile:
        """The file that a learner writes this function in."""
        return ExerciseFile(self.lesson, self.language)


@dataclass(frozen=True)
class ExerciseFile:
    """One file that a learner edits: the Python exercises of a lesson, or its CUDA exercises."""

    lesson: Lesson
    language: Language

    @property
    def name(self) -> str:
        return f"{self.lesson.name}{self.language.suffix}"

    @property
    def what_to_do(self) -> str:
        """What a learner does with the functions in the file, in a line of its header."""
        broken = [exercise.broken is not None for exercise in self.exercises]
        if all(broken):
            return "Each function below is the engine's, with a mistake put in. Fix it, save the file, check it:"
        if any(broken):
            return "Write the functions that have no body, fix those with a mistake in them, save the file, check:"
        each = "Each function below belongs to the engine; its body has been taken out."
        return f"{each} Write it, save the file, check it:"

    @property
    def exercises(self) -> list[Exercise]:
        return [exercise for exercise in self.lesson.exercises if exercise.language is self.language]


@dataclass
class Lesson:
    """A numbered lesson: one notebook, one solution notebook, and a file for its exercises, all with the same name.

    Exercises in Python and exercises in CUDA have a file each.
    """

    number: int
    topic: str
    title: str
    minutes: int
    exercises: list[Exercise] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.number:02d}_{self.topic}"

    @property
    def files(self) -> list[ExerciseFile]:
        """The files of this lesson that have an exercise: Python's first. Empty for a lesson without exercises."""
        return [file for file in (ExerciseFile(self, PYTHON), ExerciseFile(self, CUDA)) if file.exercises]

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
        time_limit: float | None = None,
        broken: tuple[str, str] | None = None,
    ) -> Callable[[Callable[[], None]], Callable[[], None]]:
        """Decorator for the check of an exercise; adds the exercise to this lesson.

        `time_limit` is 10 s, for CUDA 20 s: a busy machine may take seconds to compile.
        """
        limit = time_limit or (20.0 if ".cu:" in target else 10.0)

        def add(check: Callable[[], None]) -> Callable[[], None]:
            fields = (id, title, target, minutes, task, hints, mutants, check, self, requires, limit, broken)
            self.exercises.append(Exercise(*fields))
            return check

        return add


class NoSuchExercise(LookupError):
    """There is no exercise or lesson of that name; the message says which there are."""


@cache
def _lesson_modules() -> dict[int, str]:
    """Number and module name of every lesson, in the order in which they are taken. Nothing is imported."""
    package = importlib.import_module("yaie.course.lessons")
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    return {int(name.split("_")[1]): f"{package.__name__}.{name}" for name in names if name.startswith("lesson_")}


def lessons() -> tuple[Lesson, ...]:
    """All lessons in the order in which they are taken."""
    return tuple(map(find_lesson, _lesson_modules()))


def exercises() -> tuple[Exercise, ...]:
    """All exercises in the order in which they are taken."""
    return tuple(exercise for lesson in lessons() for exercise in lesson.exercises)


def exercise_files() -> tuple[ExerciseFile, ...]:
    """All files that learners edit, in the order in which they are taken."""
    return tuple(file for lesson in lessons() for file in lesson.files)


def find_lesson(number: int) -> Lesson:
    """The lesson with that number. Raises `NoSuchExercise`, naming the numbers there are."""
    modules = _lesson_modules()
    if number not in modules:
        raise NoSuchExercise(f"there is no lesson {number}; there are {', '.join(map(str, modules))}")
    return importlib.import_module(modules[number]).LESSON


def find_exercise(id: str) -> Exercise:
    """The exercise with that id, such as "1.2". Only its own lesson is imported, so a check stays quick.

    Raises `NoSuchExercise`, naming the ids there are.
    """
    if not isinstance(id, str):  # the number 1.10 is 1.1
        raise TypeError(f'write the id of an exercise in quotes, such as "1.2"; got {id!r}')
    number = id.strip().partition(".")[0]
    if not number.isdecimal() or int(number) not in _lesson_modules():
        numbers = ", ".join(map(str, _lesson_modules()))
        raise NoSuchExercise(
            f'there is no exercise {id!r}; an id is the number of a lesson ({numbers}), a point and a number: "1.2"'
        )
    lesson = find_lesson(int(number))
    for exercise in lesson.exercises:
        if exercise.id == id.strip():
            return exercise
    known = ", ".join(exercise.id for exercise in lesson.exercises) or "none"
    raise NoSuchExercise(f"there is no exercise {id!r}; lesson {number} has {known}")
