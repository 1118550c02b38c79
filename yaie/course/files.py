"""The files that a learner edits: where they lie, what stands in them, putting them back and bringing them up to date.

They are generated and then edited, so git does not track them: a pull can neither overwrite an answer nor be refused
because of one. Beside each lies a copy as it was generated: what differs from it is the learner's, and an update keeps
it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import textwrap
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from yaie.course import REPOSITORY

if TYPE_CHECKING:
    from yaie.course.registry import Exercise, ExerciseFile

HOME = REPOSITORY / "exercises"  # where mistakes are said to lie, too: what is compiled once is found again
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
    return Path(os.environ.get("YAIE_EXERCISES_DIR") or HOME).absolute()


def exercise_path(file: ExerciseFile) -> Path:
    return exercises_dir() / file.name


def told_path(file: ExerciseFile) -> str:
    """The exercise file as a learner is told of it: from the root of the repository, or of a copy of its folders, in
    whose `notebooks/` the caller runs; else the whole path. (Within the repository, notebooks are run with copies of
    `exercises/`.)"""
    path = exercise_path(file)
    is_ours = path.is_relative_to(REPOSITORY) or path.parent == Path.cwd().parent / "exercises"
    return f"exercises/{file.name}" if is_ours else str(path)


def as_generated(path: Path) -> Path:
    """The copy of an exercise file as it was generated last."""
    return path.parent / ".generated" / path.name


def make(file: ExerciseFile) -> None:
    """Write an exercise file that was never there: a clone of the repository has none. Raises `FileProblem`."""
    path = exercise_path(file)
    if not path.exists() and not as_generated(path).exists():
        renew(file, path, file.language.render(file))


def read(file: ExerciseFile) -> str:
    """The text of an exercise file, its lines ended by \\n. Raises `FileProblem` where it cannot be read."""
    make(file)
    return _read(file, exercise_path(file))


def _read(file: ExerciseFile, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors on Windows write a byte order mark
    except FileNotFoundError as error:
        step = f"Run `yaie reset {file.lesson.number}` to have it written again."
        raise FileMissing(f"{path} is not there.", step) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        step = "Save the file as UTF-8 (in VS Code: the encoding at the bottom right)."
        raise FileProblem(f"{path.name} is not UTF-8 text: the first other byte is in line {line}.", step) from error
    except OSError as error:
        step = "Make it a file that you may read and write."
        raise FileProblem(f"{path} cannot be read: {error.strerror}.", step) from error


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


NEW, RENEWED, MERGED, LEFT, SAME = "new", "as generated", "brought up to date", "left as it is", "unchanged"


def renew(file: ExerciseFile, path: Path, text: str, *, only_look: bool = False) -> str:
    """Bring an exercise file to what is generated now, `text`. Returns what was done: `NEW`, `RENEWED`, ...

    In a file that a learner has edited, each function that they wrote stays letter for letter, and so does what they
    added around it; the rest becomes what it is now, with new exercises. A file in which that cannot be done is `LEFT`.
    Raises `FileProblem` where something cannot be read or written.
    """
    copy, mine = as_generated(path), _read(file, path) if path.exists() else ""
    kept = copy.read_text(encoding="utf-8") if copy.exists() else ""
    edited, stamp, new = bool(mine) and was_edited(mine), HASH_LINE.search(mine), text
    if edited:
        base = kept or (text if stamp and stamp[0] in text else "")  # the stamp says what a file was generated as
        new = mine if base == text else _merged(file, mine, base, text) if base else None
    if new is None:
        return LEFT
    if not only_look and mine != new:
        _write(path, new, back_up=edited)
    if not only_look:
        _write(copy, text)
    return SAME if mine == new else MERGED if edited else RENEWED if mine or kept else NEW


def _merged(file: ExerciseFile, mine: str, base: str, new: str) -> str | None:
    """A learner's text with what has changed in the generated one; None where that would lose what they wrote.

    Their functions are put into both generated texts first: what is left to merge lies outside of them.
    """
    answers = []
    try:
        file.language.parse(mine, file.name)
        for exercise in file.exercises:
            with suppress(FileProblem):  # it is new, or has been taken out
                if file.language.locate(exercise, mine).attempted:
                    answers.append((exercise, _function(exercise, mine)))
        for exercise, lines in answers:
            base, new = (_with_function(exercise, text, lines) for text in (base, new))
        merged = _merged_lines(mine, base, new)
        kept = all(_function(exercise, merged) == lines for exercise, lines in answers)
        whole = all(file.language.locate(exercise, merged) for exercise in file.exercises)
    except FileProblem:
        return None
    return merged if kept and whole else None


def _function(exercise: Exercise, text: str) -> list[str]:
    place = exercise.language.locate(exercise, text)
    return text.split("\n")[place.first_line - 1 : place.last_line]  # not splitlines: Python counts lines by \n only


def _with_function(exercise: Exercise, text: str, function: list[str]) -> str:
    """The text with other lines for a function. Raises `FileProblem` where it has no such function."""
    lines, place = text.split("\n"), exercise.language.locate(exercise, text)
    lines[place.first_line - 1 : place.last_line] = function
    return "\n".join(lines)


def _merged_lines(mine: str, base: str, new: str) -> str:
    """Both changes of `base`, line by line; where they meet, the lines of both."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("mine", mine), ("base", base), ("new", new)):
            Path(folder, name).write_text(text, encoding="utf-8", newline="\n")
        command = ["git", "merge-file", "--stdout", "--union", "mine", "base", "new"]
        try:
            return subprocess.check_output(command, cwd=folder, stderr=subprocess.PIPE).decode("utf-8")
        except (OSError, subprocess.CalledProcessError) as error:
            raise FileProblem(f"git could not merge: {error}", "Install git.") from error


def reset_exercise(exercise: Exercise) -> Path | None:
    """Take one answer out again; the rest of the file stays. Returns the backup of the file as it was, None where
    there was nothing to take out.

    Raises `FileProblem` where the function cannot be found (then only `reset_file` can help) or nothing can be written.
    """
    try:
        text = read(exercise.file)
        place = exercise.language.locate(exercise, text)
    except FileMissing:
        return reset_file(exercise.file)
    except FileProblem as problem:
        whole = f"Fix that by hand, or run `yaie reset {exercise.lesson.number}` to write the whole file again"
        raise FileProblem(problem.problem, f"{whole} (a backup is kept).") from problem
    indent = re.match(r"\s*", text.split("\n")[place.first_line - 1])[0]
    stub = textwrap.indent(exercise.language.stub(exercise), indent).split("\n")
    return _write(exercise_path(exercise.file), _with_function(exercise, text, stub), back_up=True)


def reset_file(file: ExerciseFile) -> Path | None:
    """Write an exercise file as it was generated. Returns the backup of what was there; None where that is the same."""
    text, path = file.language.render(file), exercise_path(file)
    backup = _write(path, text, back_up=True)
    _write(as_generated(path), text)
    return backup


def _write(path: Path, text: str, *, back_up: bool = False) -> Path | None:
    """Write the new text of an exercise file with the line ends that it had. With `back_up` first keep what it
    replaces, and return where."""
    backup = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.read_bytes() if path.exists() else b""
        new = text.replace("\n", "\r\n" if b"\r\n" in old else "\n").encode()
        if old == new:
            return None
        if old and back_up:
            backup = path.parent / ".backup" / f"{path.stem}.{datetime.now():%Y-%m-%d_%H-%M-%S-%f}{path.suffix}"
            backup.parent.mkdir(exist_ok=True)
            write_whole(backup, old)
            for outdated in sorted(backup.parent.glob(f"{path.stem}.[0-9]*{path.suffix}"))[:-BACKUPS]:
                outdated.unlink(missing_ok=True)
        write_whole(path, new)
    except OSError as error:
        kept = f" {backup} has what it contains now." if backup and backup.exists() else ""
        step = f"It is as it was. Make it writable, then try again.{kept}"
        raise FileProblem(f"{error.filename or path} cannot be written: {error.strerror}.", step) from error
    return backup
