"""The learner's own functions in the running engine: which have passed, putting them in, and showing whose ran."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaie.engine.llm
from yaie.course import progress
from yaie.course.files import FileProblem, exercise_path, read
from yaie.course.judge import PASSED
from yaie.course.language import Swap, engine_seam
from yaie.course.registry import exercises, find_exercise
from yaie.course.show import Table
from yaie.engine.output import RequestOutput


class LLM(yaie.engine.llm.LLM):
    """The engine with the exercises that you have solved instead of its own functions.

    They are in place while it is made and while it computes, not between steps and not for other engines. Which have
    passed is asked when it is made; what is left out though it had passed, or cannot be read, is told on stderr then.
    """

    def __init__(self, model: Any = "tiny", **options: Any) -> None:
        if options.get("tensor_parallel", 1) != 1:
            raise ValueError("exercises run in one process: leave out tensor_parallel")
        self._installed, self._inside = installed(passed_parts()), False
        for sentence in left_out():
            print(sentence, file=sys.stderr)
        with self._installed:  # it chooses its operations here, once
            super().__init__(model, **options)

    def generate(self, *args: Any, **options: Any) -> list[RequestOutput]:
        with self._lock, self._in_place():  # once for all steps
            return super().generate(*args, **options)

    def _step(self) -> None:
        with self._in_place():
            super()._step()

    @property
    def parts(self) -> Table:
        """Whose code runs: the engine's own, or yours for the exercises that you have solved."""
        with self._in_place():
            return who_runs()

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        with ExitStack() as undo:
            if not self._inside:
                undo.enter_context(self._installed)
                for holder in _holders(self):
                    ran = holder.operations if isinstance(holder.operations, Ran) else holder  # is it being watched?
                    ran.operations = engine_seam.in_place(ran.operations)
                undo.callback(setattr, self, "_inside", False)
                self._inside = True
            yield


def passed_parts() -> list[str]:
    """Ids of the exercises that have passed and were not edited since."""
    lines, _ = progress.board()
    return [line.exercise.id for line in lines if line.status == PASSED]


def left_out() -> list[str]:
    """Why the engine runs functions of its own where its user expects theirs: in sentences, none if it does not."""
    lines, problems = progress.board()
    stale = [line.exercise.id for line in lines if line.record.status == PASSED and line.status == progress.CHANGED]
    if stale:
        problems.append(f"Passed, but not as they stand now: {', '.join(stale)}. Check them again.")
    return [*problems, "YAIE's own functions run instead."] if problems else []


class installed(Swap):
    """Have the engine of this process call the learner's functions with these ids; at the end, its own again.

    The learner's files are run here, not in the sandbox: an endless loop in them is an endless loop of this process.
    They are read and run the first time, and again where they have changed since: a step of the engine may be shorter
    than that. To enter raises `NoSuchExercise` or `FileProblem` before anything is put in; whatever a file raises when
    it is run comes out, and nothing stays in.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        super().__init__()
        self._exercises = [find_exercise(id) for id in dict.fromkeys(ids)]
        self._files = {exercise.file.name: exercise.file for exercise in self._exercises}
        self._state: list[tuple] | None = None  # of the files, as they were when they were run

    def __enter__(self) -> Swap:
        state = [_state(exercise_path(file)) for file in self._files.values()]
        if state != self._state:
            self._state, self.values = None, []
            with ExitStack() as undo:
                for swap in self._made():
                    undo.enter_context(swap)
                    self.values += swap.values
            self._state = state
        return self.put_in()

    def _made(self) -> Iterator[Swap]:
        """A swap for each file. It is to be put in before the next is made: a file may use the functions of those
        before it when it is run."""
        texts = {name: read(file) for name, file in self._files.items()}
        for exercise in self._exercises:
            if not exercise.language.find(exercise, texts[exercise.file.name]).attempted:
                step = f"Write it, then `yaie check {exercise.id}`."
                raise FileProblem(f"Exercise {exercise.id} has not been written yet.", step)
        for name, file in self._files.items():
            use = [exercise.id for exercise in self._exercises if exercise.file.name == name]
            yield file.language.swap(file, file.language.load(file, texts[name]), use)


def _state(path: Path) -> tuple:
    """What changes whenever a file is saved."""
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else ()


def who_runs() -> Table:
    """For each exercise, whose function the engine of this process would call now."""
    rows = []
    for exercise in exercises():
        file = exercise.language.owner(exercise)
        tone, whose = ("good", "yours") if file == exercise.file.name else ("neutral", "YAIE's")
        rows.append((tone, (exercise.id, f"`{exercise.qualname}`", whose, file)))
    yours = sum(tone == "good" for tone, _ in rows)
    return Table("Whose code runs", ("", "Function", "Whose", "File"), rows, f"{yours} of {len(rows)} are yours.")


class Ran:
    """Calls of operations, and the files of `csrc/` in which their kernels were looked up.

    Replaces an engine's `operations` while it watches.
    """

    def __init__(self, operations: Any) -> None:
        self.operations = operations
        self.calls: Counter[str] = Counter()
        self.files: dict[str, set[str]] = {}
        self.yours: set[str] = set()  # files with a function of the learner's

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.operations, name)
        if not callable(value):
            return value

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            with engine_seam.looked_up(self.operations, saw):
                return value(*args, **kwargs)

        def saw(file: str, yours: bool) -> None:
            self.files.setdefault(name, set()).add(file)
            if yours:
                self.yours.add(file)

        return counted

    def board(self) -> Table:
        """For each operation that was called: how often, on what, from which file, and whose it is."""
        rows, places = [], Counter()
        for operation, calls in self.calls.items():  # in the order of their first call
            files = sorted(self.files.get(operation, ()))
            yours = not self.yours.isdisjoint(files)
            place = "your kernel" if yours else "YAIE's kernel" if files else "torch"
            if operation == "plan_attention":
                place = "the CPU"  # it decides who reads which pages, and computes nothing
            places[place.partition(" ")[2]] += 1
            cells = (f"`{operation}`", str(calls), place, ", ".join(f"csrc/{file}" for file in files))
            rows.append(("good" if yours else "neutral", cells))
        title, computing = f"Who computes: backend {self.operations.name}", len(rows) - places["CPU"]
        footer = f"{places['kernel']} of {computing} operations that compute ran on kernels of csrc/."
        return Table(title, ("Operation", "Calls", "Runs on", "File"), rows, footer)


@contextmanager
def watch_operations(llm: yaie.engine.llm.LLM) -> Iterator[Ran]:
    """Which operation of an engine ran where: counted while this lasts.

        with watch_operations(llm) as ran:
            llm.generate("1+1=")
        ran.board()

    Operations that are replayed from a CUDA graph are not called again, so on a GPU the counts are those of the capture
    and of the steps without a graph.
    """
    ran, swap = Ran(llm.runner.operations), Swap()
    for holder in _holders(llm):
        swap.add(holder, "operations", ran)
    with swap:
        yield ran


def _holders(llm: yaie.engine.llm.LLM) -> list[Any]:
    """The parts of an engine that have its operations."""
    return [holder for holder in (llm.runner, llm.runner.graphs) if holder is not None]
