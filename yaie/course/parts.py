"""The learner's own functions in the running engine: which have passed, putting them in, and showing whose ran."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from yaie.course import learner, progress
from yaie.course.checks import PASSED
from yaie.course.registry import ExerciseFile, exercises, find_exercise
from yaie.course.show import Table


def passed_parts() -> list[str]:
    """Ids of the exercises that have passed and were not edited since."""
    lines, _ = progress.board()
    return [line.exercise.id for line in lines if line.status == PASSED]


@contextmanager
def installed(ids: Iterable[str]) -> Iterator[None]:
    """Have the engine of this process call the learner's functions with these ids; at the end, its own again.

    The learner's files are run here, not in the sandbox: an endless loop in them is an endless loop of this process.
    They are read and run the first time, and again where they have changed since: a step of the engine may be shorter
    than that. Raises `NoSuchExercise` or `FileProblem` before anything is put in; whatever a file raises when it is run
    comes out, and nothing stays in.
    """
    ids = tuple(dict.fromkeys(ids))
    around = set(_installed) - {ids}
    with ExitStack() as undo:
        files, state, swaps = _latest.get(ids, ((), None, ()))
        if state == (around, _state(files)):
            for swap in swaps:
                swap.put_in()
                undo.callback(swap.take_out)
        else:
            files = list({exercise.file.name: exercise.file for exercise in map(find_exercise, ids)}.values())
            state = around, _state(files)
            swaps = _install(ids, files, undo)
            _latest.clear()
            _latest[ids] = files, state, swaps
        _installed.append(ids)
        undo.callback(_installed.pop)
        yield


# The blocks that we are in, the outermost first.
_installed: list[tuple[str, ...]] = []
# What was put in last: ids, their files, the state that it was made in (the other blocks around it, whose functions it
# may hold, and the state of the files), and the swaps.
_latest: dict[tuple[str, ...], tuple[list[ExerciseFile], tuple[set, list[tuple]], list[learner.Swap]]] = {}


def _state(files: Iterable[ExerciseFile]) -> list[tuple]:
    """What changes whenever one of the files is saved."""
    paths = [learner.exercise_path(file) for file in files]
    return [(path, path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else (path,) for path in paths]


def _install(ids: tuple[str, ...], files: Iterable[ExerciseFile], undo: ExitStack) -> list[learner.Swap]:
    texts = {file.name: learner.read(file) for file in files}
    for exercise in map(find_exercise, ids):
        if not learner.find(exercise, texts[exercise.file.name]).attempted:
            raise learner.FileProblem(
                f"Exercise {exercise.id} has not been written yet.", f"Write it, then `yaie check {exercise.id}`."
            )
    swaps = []
    for file in files:
        use = [exercise.id for exercise in file.exercises if exercise.id in ids]
        swaps.append(learner.install(learner.load(file, texts[file.name]), file, use))
        undo.callback(swaps[-1].take_out)
    return swaps


def who_runs() -> Table:
    """For each exercise, whose function the engine of this process would call now."""
    rows = []
    for exercise in exercises():
        file = learner.owner(exercise)
        yours = file == exercise.file.name
        rows.append(
            (
                "good" if yours else "neutral",
                (exercise.id, f"`{exercise.qualname}`", "yours" if yours else "YAIE's", file),
            )
        )
    yours = sum(tone == "good" for tone, _ in rows)
    return Table("Whose code runs", ("", "Function", "Whose", "File"), rows, f"{yours} of {len(rows)} are yours.")
