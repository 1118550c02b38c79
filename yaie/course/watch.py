"""Check again whenever a learner saves: `yaie watch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from watchfiles import watch as file_changes

from yaie.course import learner
from yaie.course.checks import Outcome, check
from yaie.course.progress import remember
from yaie.course.registry import Exercise, exercises, lessons


def watch(
    show: Callable[[Outcome | learner.FileProblem], None], changes: Iterator[set[Path]] | None = None
) -> None:
    """Check every function that changes in the exercise files until interrupted; `show` gets each outcome.

    A file that cannot be read as Python is shown once per save. `changes` is for tests: sets of saved paths.
    """
    known = _hashes()
    for paths in changes if changes is not None else _saved():
        for exercise in _in_files(paths):
            try:
                written = learner.find(exercise, learner.read(exercise.lesson))
            except learner.FileProblem as problem:
                show(problem)
                break
            if known.get(exercise.id) != written.hash:
                known[exercise.id] = written.hash
                outcome = check(exercise.id)
                remember(outcome)
                show(outcome)


def _saved() -> Iterator[set[Path]]:
    folder = learner.exercises_dir()
    for changes in file_changes(folder, watch_filter=lambda _, path: path.endswith((".py", ".cu"))):
        yield {Path(path) for _, path in changes}


def _in_files(paths: set[Path]) -> list[Exercise]:
    names = {path.name for path in paths}
    return [
        exercise for lesson in lessons() if lesson.exercise_file in names for exercise in lesson.exercises
    ]


def _hashes() -> dict[str, str]:
    hashes = {}
    for exercise in exercises():
        try:
            hashes[exercise.id] = learner.find(exercise, learner.read(exercise.lesson)).hash
        except learner.FileProblem:
            continue  # checked as soon as it can be read
    return hashes
