"""What a lesson and an exercise are, and where all of them are found.

An exercise is a folder of its own, `yaie/course/lessons/NN_topic/NN.k_name/` (CONTRIBUTING.md shows one). It names a
function of the engine, its *target*: the stub a learner gets, the reference solution and every mistake are made from
the engine's own source. Reading a folder imports nothing: its `check.py` is imported when it is run.
"""

from __future__ import annotations

import importlib
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from yaie.course.language import CUDA, PYTHON, Language

LESSONS = Path(__file__).parent / "lessons"


class FolderError(ValueError):
    """A folder that is no lesson or exercise yet: the message names the file, what is wrong and what was expected."""


class NoSuchExercise(LookupError):
    """The message says which exercises or lessons there are."""


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong answer: the engine's function with `old` replaced by `new`. Whose answer goes wrong on the same
    inputs in the same way sees the message, which names the likely cause in one or two sentences."""

    old: str
    new: str
    message: str


@dataclass(frozen=True)
class Exercise:
    """One function of the engine that a learner writes; CONTRIBUTING.md says what the fields are.

    `time_limit` is the seconds that a check may take, without the compiler; one in Python takes less than 1. With a
    `score` the check returns a count, which decides nothing. With `broken` = (old, new) the learner does not get an
    empty function but the engine's with `old` replaced by `new`, and is to find that mistake and fix it.
    """

    id: str
    title: str
    target: str
    minutes: int
    difficulty: int
    statement: str  # Markdown
    hints: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    lesson: Lesson
    folder: Path
    requires: tuple[str, ...] = ()
    time_limit: float = 3
    score: str = ""
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
        return CUDA if self.module.startswith("csrc/") else PYTHON

    @property
    def file(self) -> ExerciseFile:
        return ExerciseFile(self.lesson, self.language)

    def check(self) -> int | None:
        """Run the folder's `check.py` on the engine, into which the learner's function has been put. Returns the count
        of its `score`, if it has one; raises through `yaie.course.expect.expect` at the first wrong result."""
        lesson, number = f"lesson_{self.lesson.number:02d}", self.id.partition(".")[2]
        return importlib.import_module(f"yaie.course.lessons.{lesson}.exercise_{number}.check").check()


@dataclass(frozen=True)
class ExerciseFile:
    """One file that a learner edits: the Python exercises of a lesson, or its CUDA exercises."""

    lesson: Lesson
    language: Language

    @property
    def name(self) -> str:
        return f"{self.lesson.name}{self.language.suffix}"

    @property
    def exercises(self) -> list[Exercise]:
        return [exercise for exercise in self.lesson.exercises if exercise.language is self.language]


@dataclass
class Lesson:
    """A numbered lesson: one notebook, one solution notebook, and a file for its exercises in Python and in CUDA each,
    all with the same name."""

    number: int
    topic: str
    title: str
    minutes: int
    exercises: list[Exercise] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.number:02d}_{self.topic}"

    @property
    def stars(self) -> str:  # the mean difficulty of its exercises
        hard = [exercise.difficulty for exercise in self.exercises] or [1]
        return f"{'★' * round(sum(hard) / len(hard)):☆<3}"

    def exercise(self, number: str, id: object) -> Exercise:
        """The one with that number; `id` is what it was asked for by."""
        for exercise in self.exercises:
            if exercise.id == f"{self.number}.{int(number)}":
                return exercise
        ids = ", ".join(exercise.id for exercise in self.exercises) or "none"
        raise NoSuchExercise(f"there is no exercise {id!r}; lesson {self.number} has {ids}")

    @property
    def files(self) -> list[ExerciseFile]:
        """The files of this lesson that have an exercise: Python's first."""
        return [file for file in (ExerciseFile(self, PYTHON), ExerciseFile(self, CUDA)) if file.exercises]


# ---- from folders


def load_lesson(folder: Path, earlier: tuple[str, ...] = ()) -> Lesson:
    """The lesson in a folder, with its exercises. `earlier` are the ids of all exercises of the lessons before.

    Raises `FolderError`.
    """
    name = re.fullmatch(r"(\d\d)_(\w+)", folder.name)
    if name is None:
        raise FolderError(f"{folder}: the folder of a lesson is named like 12_paged_attention")
    table = _read(folder / "lesson.toml", LESSON)
    lesson = Lesson(int(name[1]), name[2], table["title"], table["minutes"])
    for id, each in exercise_folders(folder).items():
        lesson.exercises.append(_load_exercise(id, each, lesson, earlier))
        earlier = (*earlier, id)
    return lesson


def exercise_folders(lesson: Path) -> dict[str, Path]:
    """The folders of a lesson's exercises by their ids, in the order of their numbers: 1, 2, ... without a gap."""
    found: dict[int, Path] = {}
    for folder in lesson.glob("[!_.]*/"):
        name = re.fullmatch(rf"{int(lesson.name[:2])}\.(\d+)_\w+", folder.name)
        if name is None:
            raise FolderError(f"{folder}: expected a name such as {int(lesson.name[:2])}.1_name")
        if folder != found.setdefault(int(name[1]), folder):
            raise FolderError(f"{folder} and {found[int(name[1])].name} have the same number")
    for expected, number in enumerate(sorted(found), 1):
        if number != expected:
            raise FolderError(f"{found[number]}: there is no number {expected} before it")
    return {folder.name.partition("_")[0]: folder for _, folder in sorted(found.items())}


def _load_exercise(id: str, folder: Path, lesson: Lesson, earlier: tuple[str, ...]) -> Exercise:
    path = folder / "exercise.toml"
    table = _read(path, EXERCISE)
    for number, each in enumerate(table["mistakes"], 1):
        _look(each, f"{path}, mistake {number}", MISTAKE)
        each["message"] = _paragraphs(each["message"])
    if broken := table.get("broken"):
        _look(broken, f"{path}, broken", CHANGE)
        table["broken"] = broken["old"], broken["new"]
    for required in table.get("requires", ()):
        if required not in earlier:
            raise FolderError(f"{path}: `requires` names exercises that come before this one; {required!r} does not")
    for name in ("statement.md", "check.py"):
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing")
    table.setdefault("time_limit", 10 if table["target"].startswith("csrc/") else 3)
    table["hints"] = tuple(map(_paragraphs, table["hints"]))
    table["mistakes"] = tuple(Mistake(**each) for each in table["mistakes"])
    table["requires"] = tuple(table.get("requires", ()))
    statement = (folder / "statement.md").read_text(encoding="utf-8").strip()
    if statement and (score := table.get("score")):
        counted = f"An answer that is right gets a score: {score}. Fewer is better."
        statement = f"{statement}\n\n{textwrap.fill(counted, 100)}"
    return Exercise(id=id, lesson=lesson, folder=folder, statement=statement, **table)


def _paragraphs(text: str) -> str:
    """As in Markdown: a line's end within a paragraph is a space; an indented line stays a line."""
    return re.sub(r"(?<=\S)[ \t]*\n(?=\S)", " ", text.strip())


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


Fields = Mapping[str, tuple[str, Callable[[Any], Any]]]
# What each field must be, in words, and whether it is. Those whose words begin with "if any" may be left out.
TEXT = ("a string", lambda value: isinstance(value, str))
COUNT = ("a whole number above 0", lambda value: type(value) is int and value > 0)
TARGET = re.compile(r"yaie(?:\.\w+)+:[\w.]+|csrc/[\w/]+\.cuh?:\w+")
LESSON = {"title": TEXT, "minutes": COUNT}
CHANGE = {"old": TEXT, "new": TEXT}
MISTAKE = {**CHANGE, "message": TEXT}
EXERCISE = {
    "title": TEXT,
    "target": ('"yaie.module:name" or "csrc/folder/file.cu:name"', lambda value: TARGET.fullmatch(str(value))),
    "minutes": COUNT,
    "difficulty": ("1, 2 or 3", lambda value: type(value) is int and value in (1, 2, 3)),
    "requires": ("if any, a list of ids", _texts),
    "time_limit": ("if any, a number of seconds", lambda value: type(value) in (int, float) and value > 0),
    "hints": ("three strings that differ", lambda value: _texts(value) and len({*map(str.strip, value)} - {""}) >= 3),
    "score": ("if any, what is counted, in words", lambda value: isinstance(value, str) and value.strip() != ""),
    "broken": ("if any, a table", lambda value: isinstance(value, dict)),
    "mistakes": ("tables", lambda value: isinstance(value, list) and all(isinstance(each, dict) for each in value)),
}


def _read(path: Path, fields: Fields) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FolderError(f"{path} is missing") from error
    except ValueError as error:
        raise FolderError(f"{path} is not TOML: {error}") from error
    _look(table, str(path), fields)
    return table


def _look(table: dict[str, Any], where: str, fields: Fields) -> None:
    """Raise `FolderError` unless the table has just these fields and each is what it must be."""
    if unknown := sorted(table.keys() - fields):
        raise FolderError(f"{where}: unknown field {unknown[0]!r}; expected {', '.join(fields)}")
    for name, (expected, is_good) in fields.items():
        if name in table and not is_good(table[name]):
            raise FolderError(f"{where}: {name} is {str(table[name])[:100]!r}; expected {expected}")
        if name not in table and not expected.startswith("if any"):
            raise FolderError(f"{where}: {name} is missing; expected {expected}")


# ---- all of them, in the order in which they are taken


@cache
def _lesson_folders() -> dict[int, Path]:
    return {int(path.name[:2]): path for path in sorted(LESSONS.glob("[0-9][0-9]_*"))}


def lessons() -> tuple[Lesson, ...]:
    return tuple(map(find_lesson, _lesson_folders()))


def exercises() -> tuple[Exercise, ...]:
    return tuple(exercise for lesson in lessons() for exercise in lesson.exercises)


def exercise_files() -> tuple[ExerciseFile, ...]:
    return tuple(file for lesson in lessons() for file in lesson.files)


@cache
def find_lesson(number: int) -> Lesson:
    """The lesson with that number. Raises `NoSuchExercise`."""
    folders = _lesson_folders()
    if number not in folders:
        raise NoSuchExercise(f"there is no lesson {number}; there are {', '.join(map(str, folders))}")
    earlier = (id for before, folder in folders.items() if before < number for id in exercise_folders(folder))
    return load_lesson(folders[number], tuple(earlier))


def find(what: str | int) -> Exercise | Lesson:
    """The exercise with an id such as "1.2", or the lesson with a number such as "1", "01" or 1. Only that lesson is
    read, so a check stays quick. Raises `NoSuchExercise`."""
    if type(what) not in (str, int):  # the number 1.10 is 1.1
        raise TypeError(f'write the id of an exercise in quotes, such as "1.2"; got {what!r}')
    numbers = re.fullmatch(r"([0-9]+)(?:\.([0-9]+))?", str(what).strip())  # not \d, which takes digits of all scripts
    if numbers is None:
        guess = re.sub(r"[^0-9]+", ".", str(what).translate(str.maketrans("lIoO", "1100"))).strip(".")
        ids = {exercise.id for exercise in exercises()}
        known = f"did you mean {guess}?" if guess in ids else 'an id is a lesson, a point and a number: "1.1"'
        raise NoSuchExercise(f"there is no exercise {what!r}; {known}")
    lesson = find_lesson(int(numbers[1]))
    return lesson if numbers[2] is None else lesson.exercise(numbers[2], what)


def find_exercise(id: str) -> Exercise:
    """As `find`, for an exercise only."""
    found = find(id)
    return found.exercise("0", id) if isinstance(found, Lesson) else found
