"""What the course asks of a language that exercises are written in. `python` and `cuda` answer."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yaie.course.files import HASH_LINE, FileProblem, stamped

if TYPE_CHECKING:
    from yaie.course.registry import Exercise, ExerciseFile


BANNER = "---------- "  # how the comment above a function in an exercise file begins


@dataclass(frozen=True)
class Written:
    """One function as it stands in the learner's file, in lines `first_line` to `last_line` (from 1).

    `hash` changes with the function and with whatever else in the file the function uses (helpers, imports), but not
    with comments, blank lines or the other exercises. It is empty while nothing has been written. `remark` is what
    strikes one on reading it, `problem` why the engine cannot call it.
    """

    attempted: bool
    hash: str
    first_line: int
    last_line: int
    remark: str = ""
    problem: FileProblem | None = None


@dataclass(frozen=True)
class Slip:
    """The engine's function with a change that any function can have, and what to tell whoever has the same results;
    nothing where there are no words for it."""

    body: str
    message: str
    rank: int = 0  # among those that come to the same, the first is told
    line: int = 0  # of the statement that is changed, 0 for the whole function
    rare: bool = False  # of a kind of which there are so many that two of them explain much by chance


class Swap(AbstractContextManager):
    """Values of the engine that others replace while it is in. It may be put in as often as one likes, and on top of
    another: each time gives back what it found."""

    def __init__(self) -> None:
        self.values: list[tuple[Any, str, Callable[[Any], Any]]] = []
        self._undo: list[ExitStack] = []  # for each time that it was put in

    def add(self, holder: Any, name: str, value: Any) -> None:
        """Let `value` replace `holder.name` (for a dict, `holder[name]`) whenever this is put in."""
        self.add_made(holder, name, lambda _: value)

    def add_made(self, holder: Any, name: str, make: Callable[[Any], Any]) -> None:
        """As `add`, for a value that is made from what is there: `make(old)`, with None where there is nothing."""
        self.values.append((holder, name, make))

    def put_in(self) -> Swap:
        """Replace all of them. Where one cannot be made, all are as they were."""
        with ExitStack() as undo:
            for holder, name, make in self.values:
                old = (holder if isinstance(holder, dict) else vars(holder)).get(name, _NOTHING)
                undo.callback(_set, holder, name, old)
                _set(holder, name, make(None if old is _NOTHING else old))
            self._undo.append(undo.pop_all())
        return self

    def take_out(self, *_: object) -> None:
        """Give back what the last `put_in` found; without one this changes nothing."""
        if self._undo:
            self._undo.pop().close()

    __enter__, __exit__ = put_in, take_out


_NOTHING = object()


def _set(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder.pop(name, None) if value is _NOTHING else holder.update({name: value})
    else:
        delattr(holder, name) if value is _NOTHING else setattr(holder, name, value)


def needed(parts: Iterable[Any], names: Set[str]) -> list[Any]:
    """Of the parts of a file, which have `defines` and `uses`, those that define one of the names, and those that these
    need in turn. A part that defines nothing by name may do anything and counts as needed."""
    rest, taken = list(parts), []
    while more := [each for each in rest if not each.defines or each.defines & names]:
        taken += more
        rest = [each for each in rest if each not in more]
        names = names.union(*(each.uses for each in more))
    return taken


class Language(ABC):
    """A language: how its functions are found, taken out, put in and run. Reading a learner's file never runs it."""

    suffix: str  # of exercise files
    comment: str  # what a comment starts with
    fence: str  # its name in Markdown
    ends_process: str  # the function that ends the whole process
    quick: bool = False  # to run a check once more costs no time that a learner notices
    header: tuple[str, ...] = ()  # further lines for the top of an exercise file
    look: str = ""  # how to see what each line does, with `{id}` for the exercise; "" where nothing shows it

    # --- the engine's function

    @abstractmethod
    def reference(self, exercise: Exercise) -> str:
        """The engine's own source of the function, without indentation."""

    def solution(self, exercise: Exercise) -> str:
        """What a solution shows of the engine's source."""
        return self.reference(exercise)

    @abstractmethod
    def hole(self, exercise: Exercise) -> str:
        """The function without its body."""

    def stub(self, exercise: Exercise) -> str:
        """The function as a learner finds it: broken, or without its body."""
        with suppress(LookupError):  # an exercise that is out of date must not keep its file from being made
            if exercise.broken:
                return self.changed(exercise, *exercise.broken).rstrip("\n")
        return self.hole(exercise)

    def changed(self, exercise: Exercise, old: str, new: str) -> str:
        """The reference with `old` replaced by `new`. Raises LookupError unless `old` occurs in it exactly once."""
        source = self.reference(exercise) + "\n"  # so that a change may take out the last line as it does any other
        if source.count(old) != 1:
            raise LookupError(f"expected `old` exactly once in {exercise.target}: {old!r}")
        return source.replace(old, new)

    def slips(self, exercise: Exercise) -> list[Slip]:
        """What can go wrong with any function."""
        return []

    def become(self, exercise: Exercise, source: str) -> None:
        """Let the function that is in the engine now do what another source of it says."""
        raise ValueError(f"exercise {exercise.id}: its language takes a new process for each text")

    def idle(self, exercise: Exercise) -> str:
        """The stub with a statement of no effect, which counts as written; empty where a stub cannot be run."""
        return ""

    @abstractmethod
    def code(self, answer: str) -> str:
        """What an answer says, whatever its layout and comments: to tell whether two are the same."""

    # --- the exercise file

    def render(self, file: ExerciseFile, bodies: Mapping[str, str] | None = None) -> str:
        """The text of an exercise file. `bodies` gives the source to use for some exercises (by id)."""
        functions = {exercise.id: (bodies or {}).get(exercise.id) or self.stub(exercise) for exercise in file.exercises}
        lesson, first = file.lesson, file.exercises[0].id
        header = [
            f"Exercises of lesson {lesson.number:02d}: {lesson.title}.",
            "",
            "Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:",
            f'`yaie.exercise("{first}").check()` in the notebook, or `yaie check {first}` in a terminal.',
            "Functions that you have not written yet are filled in with the engine's own, so any order works.",
            *self.header,
            "generated, text hash HASH",
        ]
        parts = [self.as_comment(header), *self.sections(file, functions)]
        return stamped("\n\n".join(part.rstrip() for part in parts) + "\n")

    def solved(self, file: ExerciseFile) -> str:
        """The exercise file with the engine's own bodies in it."""
        return self.render(file, {exercise.id: self.reference(exercise) for exercise in file.exercises})

    @abstractmethod
    def with_answer(self, exercise: Exercise, text: str) -> str:
        """The exercise file with the function of another file in it, and with all else that this file has."""

    @abstractmethod
    def sections(self, file: ExerciseFile, functions: Mapping[str, str]) -> Iterable[str]:
        """What stands below the header of an exercise file."""

    def as_comment(self, lines: Iterable[str]) -> str:
        return "\n".join(f"{self.comment} {line}".rstrip() for line in lines)

    def banner(self, exercise: Exercise) -> list[str]:
        title = f"Exercise {exercise.id}: {exercise.title} (about {exercise.minutes} minutes)"
        return [f"{BANNER}{title} {'-' * 10}", *(["There is a mistake in this function."] if exercise.broken else [])]

    # --- what a learner has written

    @abstractmethod
    def parse(self, text: str, name: str, looking_for: str = "") -> Any:
        """What a text of a learner's file `name` is made of.

        Raises `FileProblem` where functions cannot be told apart; it says so where the fault is not in the function
        `looking_for`.
        """

    @abstractmethod
    def locate(self, exercise: Exercise, text: str) -> Written:
        """The exercise's function in the text of a learner's file. Raises `FileProblem` where it has none."""

    def find(self, exercise: Exercise, text: str) -> Written:
        """As `locate`; raises `FileProblem` too where the engine cannot call the function."""
        written = self.locate(exercise, text)
        if written.problem:
            raise written.problem
        return written

    def is_as_found(self, exercise: Exercise, source: str) -> bool:
        """Whether a function that is to be fixed has not been touched."""
        return exercise.broken is not None and self.code(source) == self.code(self.stub(exercise))

    def check_text(self, name: str, text: str) -> None:
        if "\0" in text:
            raise FileProblem(f"{name} contains null bytes, so it is not text.", "Save it as UTF-8 text.")

    def missing(self, exercise: Exercise, text: str, names: Iterable[str], seen: str = "") -> FileProblem:
        """The file has no such function, but those names of functions. `seen` is what else there is to say of it."""
        file, lesson = exercise.file.name, exercise.lesson.number
        stamp = HASH_LINE.search(text)
        if f"Exercise {exercise.id}:" not in text and stamp and stamp[0] not in self.render(exercise.file):
            step = "Run `yaie update`: it brings the exercise in and leaves what you wrote."
            return FileProblem(f"{file} is older than exercise {exercise.id}, which it has no place for yet.", step)
        others = {other.function for other in exercise.file.exercises}
        close = difflib.get_close_matches(exercise.function, set(names) - others, n=1, cutoff=0.5)
        seen = seen or (f" It has `{close[0]}`: was it renamed?" if close else "")
        problem = f"{file} has no function `{exercise.qualname}`, which exercise {exercise.id} is about.{seen}"
        whole = f"run `yaie reset {lesson}` to write the whole file again (a backup is kept)."
        return FileProblem(problem, f"Put the function back under that name, or {whole}")

    # --- into the engine

    @abstractmethod
    def load(self, file: ExerciseFile, text: str, *, learners: bool = True) -> Any:
        """What `swap` takes functions from. A Python file is run for it; whatever its top level raises comes out.

        learners: the text is that of the learner's own file, which is what errors name then
        """

    @abstractmethod
    def swap(self, file: ExerciseFile, loaded: Any, use: Iterable[str]) -> Swap:
        """The functions with the ids in `use` for the engine; all other holes get the engine's own.

        What a learner has added to a class (helper methods, constants) or to a `.cu` file goes along with the functions
        that it is for.
        """

    def install(self, file: ExerciseFile, text: str, use: Iterable[str]) -> Swap:
        """Put functions of a learner's text into the engine. Where this fails, nothing is left in."""
        return self.swap(file, self.load(file, text), use).put_in()

    def as_found(self, exercise: Exercise) -> Swap:
        """While it is in, the engine calls the broken function of an exercise as learners find it."""
        if exercise.broken is None:
            raise ValueError(f"exercise {exercise.id} has no broken function: it is yours to write")
        file = exercise.file
        return self.swap(file, self.load(file, self.render(file), learners=False), [exercise.id])

    def module(self, exercise: Exercise, text: str, backend: str, check: bool) -> Any:
        """The compiled file of the engine with the function of a learner's text in it (`yaie.cuda.Module`)."""
        raise ValueError(f"exercise {exercise.id} is in Python; module() is for exercises in CUDA")

    @abstractmethod
    def owner(self, exercise: Exercise) -> str:
        """The file, without its folder, of the function that the engine would call now: whose function it is."""

    # --- in a check

    def get_ready(self, exercise: Exercise) -> None:  # noqa: B027
        """Look up what checks need of the engine, whatever the answer is, so that forked processes have it."""

    def prepare(self, exercise: Exercise, texts: Iterable[str] = ()) -> None:  # noqa: B027
        """Do what would take its time from the worker's clock, before one check or for several texts at once."""

    def watch(self, exercise: Exercise, saw: Callable[[str, dict[str, Any]], None]) -> None:  # noqa: B027
        """Tell of each call of the function that is in the engine now, before it: its name, and its arguments by name.
        Of a kernel, calls of its launchers are told of."""

    def report(self, exercise: Exercise, error: BaseException) -> dict[str, Any]:
        """What this language knows of an error that came out of a check, for the worker's report."""
        return {}
