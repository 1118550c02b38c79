"""Check again whenever a learner saves: `yaie watch`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from watchfiles import watch as file_changes

from yaie.course import api, files
from yaie.course.registry import Exercise, ExerciseFile, exercise_files, exercises
from yaie.course.show import Panel


def watch() -> Iterator[Panel]:
    """After every save, check each exercise that changed: its function, or anything in the file that it uses.

    Gives one panel per check. A file that cannot be read gives one panel per save, and a save that changed no exercise
    gives one that says so. Never ends by itself. What counts as changed is what differs from now, not from when the
    first panel is asked for.
    """
    known = {exercise.id: _state(exercise) for exercise in exercises()}
    changed = (file for names in _saves() for file in exercise_files() if file.name in names)
    return (panel for file in changed for panel in _check_changed(file, known))


def _check_changed(file: ExerciseFile, known: dict[str, str]) -> Iterator[Panel]:
    try:
        file.language.parse(files.read(file), file.name)
    except files.FileMissing:
        return  # some editors take the old file away before they put the new one there
    except files.FileProblem as problem:
        yield api.problem_panel(problem)
        return
    changed = [exercise for exercise in file.exercises if _state(exercise) != known[exercise.id]]
    if not changed:
        yield Panel(f"{file.name} was saved; no exercise in it has changed")
    for exercise in changed:
        known[exercise.id] = _state(exercise)
        yield api.exercise(exercise.id).check()


def _state(exercise: Exercise) -> str:
    """What to compare a save with: changes whenever a check might come out differently."""
    try:
        return exercise.language.find(exercise, files.read(exercise.file)).hash
    except files.FileProblem as problem:
        return str(problem)


def _saves() -> Iterator[set[str]]:
    """The names of what is saved in the folder of the exercise files, at each time."""
    folder = files.exercises_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for changes in file_changes(folder, recursive=False):
        yield {Path(path).name for _, path in changes}
