"""The files that a learner edits: where they lie, what stands in them, and putting them back."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from yaie.course import REPOSITORY

if TYPE_CHECKING:
    from yaie.course.registry import Exercise, ExerciseFile

BACKUPS = 20  # of a file, the newest
HASH_LINE = re.compile(r"^(?:#|//) generated, text hash ([0-9a-f]{16}|HASH)$", re.MULTILINE)


class FileProblem(Exception):
    """Why a learner's file cannot be used: a sentence, and the next step."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.problem, self.next_step = problem, next_step


class FileMissing(FileProblem):
    """The exercise file is not there."""


def exercises_dir() -> Path:
    """The folder with the exercise files: `exercises/`, or what YAIE_EXERCISES_DIR names."""
    return Path(os.environ.get("YAIE_EXERCISES_DIR") or REPOSITORY / "exercises").absolute()


def exercise_path(file: ExerciseFile) -> Path:
    """Where the learner edits an exercise file."""
    return exercises_dir() / file.name


def read(file: ExerciseFile) -> str:
    """The text of an exercise file, its lines ended by \\n. Raises `FileProblem` where it cannot be read."""
    path = exercise_path(file)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors on Windows write a byte order mark
    except FileNotFoundError as error:
        step = f"Run `yaie reset {file.lesson.number}` to have it written again."
        raise FileMissing(f"{path} is not there.", step) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise FileProblem(
            f"{path.name} is not UTF-8 text: the first other byte is in line {line}.",
            "Save the file as UTF-8 (in VS Code: the encoding at the bottom right).",
        ) from error
    except OSError as error:
        step = f"Make it a readable file: `chmod u+rw {path}`."
        raise FileProblem(f"{path} cannot be read: {error.strerror}.", step) from error
    return text


def stamped(text: str) -> str:
    """A generated text, which has HASH in its hash line, with its hash there."""
    return text.replace("text hash HASH", f"text hash {_hash(text)}", 1)


def was_edited(text: str) -> bool:
    """True where a file was changed since it was generated."""
    recorded = HASH_LINE.search(text)
    return recorded is None or recorded.group(1) != _hash(text)


def _hash(text: str) -> str:
    """Hash of a generated text; the line that holds the hash itself is left out."""
    lines = [line for line in text.splitlines() if not HASH_LINE.match(line)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: whoever reads it, even after a crash, finds the old content or the new, never a part.

    A link stays one, and the file keeps its mode. One that may not be written is not replaced either.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    new = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, new)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def reset_exercise(exercise: Exercise) -> Path | None:
    """Take one answer out again; the rest of the file stays. Returns the backup of the file as it was, None where
    there was nothing to take out.

    Raises `FileProblem` where the function cannot be found (then only `reset_file` can help) or nothing can be written.
    """
    text = read(exercise.file)
    try:
        place = exercise.language.locate(exercise, text)
    except FileProblem as problem:
        whole = f"Fix that by hand, or run `yaie reset {exercise.lesson.number}` to write the whole file again"
        raise FileProblem(problem.problem, f"{whole} (a backup is kept).") from problem
    lines = text.split("\n")  # not splitlines: Python counts lines by \n only
    start = place.first_line - 1
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    stub = exercise.language.stub(exercise)
    lines[start : place.last_line] = [indent + line if line else "" for line in stub.split("\n")]
    return _replace(exercise.file, "\n".join(lines))


def reset_file(file: ExerciseFile) -> Path | None:
    """Write an exercise file as it was generated. Returns the backup of what was there; None where that is the same."""
    return _replace(file, file.language.render(file))


def _replace(file: ExerciseFile, text: str) -> Path | None:
    """Write the new text of an exercise file with the line ends that it had; first back up what it replaces."""
    path = exercise_path(file)
    backup = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.read_bytes() if path.exists() else b""
        new = text.replace("\n", "\r\n" if b"\r\n" in old else "\n").encode()
        if old == new:
            return None
        if old:
            backup = path.parent / ".backup" / f"{path.stem}.{datetime.now():%Y-%m-%d_%H-%M-%S-%f}{path.suffix}"
            backup.parent.mkdir(exist_ok=True)
            write_whole(backup, old)
            for outdated in sorted(backup.parent.glob(f"{path.stem}.[0-9]*{path.suffix}"))[:-BACKUPS]:
                outdated.unlink(missing_ok=True)
        write_whole(path, new)
    except OSError as error:
        kept = f" {backup} has what stands in it now." if backup and backup.exists() else ""
        raise FileProblem(
            f"{error.filename or path} cannot be written: {error.strerror}.",
            f"Nothing was reset. Make it writable, then reset again.{kept}",
        ) from error
    return backup
