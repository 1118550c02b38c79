"""Put an exercise back to how it was generated. What was there is kept in `exercises/.backup/`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from yaie.course import learner, progress
from yaie.course.checks import NOT_ATTEMPTED
from yaie.course.generate import exercise_file, stub
from yaie.course.registry import Exercise, ExerciseFile, Lesson


def reset_exercise(exercise: Exercise) -> Path | None:
    """Take the body out of one function again; the rest of the file stays. Returns the backup, None if none was needed.

    Raises `FileProblem` where the function cannot be found (then only `reset_lesson` can help) or nothing can be
    written.
    """
    try:
        text = learner.read(exercise.file)
    except learner.FileMissing:
        return _write(exercise.file, exercise_file(exercise.file), exercise.file.exercises)
    try:
        first, last = learner.span(exercise, text)
    except learner.FileProblem as problem:
        whole = f"Mend that by hand, or run `yaie reset {exercise.lesson.number}` to write the whole file anew"
        raise learner.FileProblem(problem.problem, f"{whole} (a backup is kept).") from problem
    lines = text.split("\n")  # not splitlines: Python counts lines by \n only
    start = first - 1
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    lines[start:last] = [indent + line if line else "" for line in stub(exercise).split("\n")]
    return _write(exercise.file, "\n".join(lines), [exercise])


def reset_lesson(lesson: Lesson) -> list[Path]:
    """Write the lesson's exercise files anew. Returns the backups of what was there."""
    if not lesson.exercises:
        raise learner.FileProblem(f"Lesson {lesson.number} has no exercises.", "There is nothing to put back.")
    backups = [_write(file, exercise_file(file), file.exercises) for file in lesson.files]
    return [backup for backup in backups if backup]


def _write(file: ExerciseFile, text: str, exercises: list[Exercise]) -> Path | None:
    """Back up an exercise file, write the new text with the line ends that it had, forget what was recorded."""
    path = learner.exercise_path(file)
    backup = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.read_bytes() if path.exists() else b""
        if old:
            backup = path.parent / ".backup" / f"{path.stem}.{datetime.now():%Y-%m-%d_%H-%M-%S-%f}{path.suffix}"
            backup.parent.mkdir(exist_ok=True)
            backup.write_bytes(old)
        path.write_text(text, encoding="utf-8", newline="\r\n" if b"\r\n" in old else "\n")
    except OSError as error:
        raise learner.FileProblem(
            f"{error.filename or path} cannot be written: {error.strerror}.",
            "Nothing was reset. Make it writable, then reset again.",
        ) from error
    for exercise in exercises:
        progress.change(exercise.id, _forget)
    return backup


def _forget(record: progress.Record) -> None:
    record.status, record.source_hash, record.hints = NOT_ATTEMPTED, "", 0
