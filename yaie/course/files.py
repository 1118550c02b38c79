"""Put an exercise back to how it was generated. What was there is kept in `exercises/.backup/`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from yaie.course import learner, progress
from yaie.course.generate import exercise_file, stub
from yaie.course.registry import Exercise, Lesson


def reset_exercise(exercise: Exercise) -> Path | None:
    """Take the body out of one function again; the rest of the file stays. Returns the backup, None if none was needed.

    Raises `FileProblem` where the function cannot be found; then only `reset_lesson` can help.
    """
    path = learner.exercise_path(exercise.lesson)
    if not path.exists():
        return reset_lesson(exercise.lesson)
    text = learner.read(exercise.lesson)
    written = _find_whatever_its_parameters(exercise, text)
    lines = text.splitlines()
    column = len(lines[written.first_line - 1]) - len(lines[written.first_line - 1].lstrip())
    fresh = [f"{' ' * column}{line}" if line else "" for line in stub(exercise).splitlines()]
    lines[written.first_line - 1 : written.last_line] = fresh
    backup = _back_up(path)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _forget(exercise)
    return backup


def reset_lesson(lesson: Lesson) -> Path | None:
    """Write the lesson's exercise file anew. Returns the backup of what was there, None if there was nothing."""
    path = learner.exercise_path(lesson)
    backup = _back_up(path) if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(exercise_file(lesson), encoding="utf-8")
    for exercise in lesson.exercises:
        _forget(exercise)
    return backup


def _find_whatever_its_parameters(exercise: Exercise, text: str) -> learner.Written:
    try:
        return learner.find(exercise, text)
    except learner.FileProblem as problem:
        raise learner.FileProblem(
            problem.problem,
            f"Mend that by hand, or run `yaie reset {exercise.lesson.number}` to write the whole file anew "
            "(a backup is kept).",
        ) from problem


def _back_up(path: Path) -> Path:
    folder = path.parent / ".backup"
    folder.mkdir(exist_ok=True)
    backup = folder / f"{path.stem}.{datetime.now():%Y-%m-%d_%H-%M-%S-%f}{path.suffix}"
    backup.write_bytes(path.read_bytes())
    return backup


def _forget(exercise: Exercise) -> None:
    with progress.update(exercise.id) as record:
        record.status, record.source_hash, record.hints = "not attempted", "", 0
