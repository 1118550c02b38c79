"""What a learner has done so far: `.progress.json` beside the exercise files, and the board that shows it.

A check is worth more than its record. Where the file is damaged, comes from another version or cannot be written, what
can be read is used, the rest is set aside, and this process remembers what it could not store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from filelock import FileLock

from yaie.course.expect import clipped
from yaie.course.files import FileProblem, exercises_dir, read, write_whole
from yaie.course.judge import FAILED, NOT_ATTEMPTED, PASSED, Outcome
from yaie.course.registry import Exercise, exercises

CHANGED = "edited, not checked since"
FILE = ".progress.json"
LOCK_LIMIT = 10.0  # seconds to wait for another notebook that is storing its own record


@dataclass
class Record:
    """What is remembered of one exercise. `source_hash` is of the function as it was last checked."""

    status: str = NOT_ATTEMPTED
    source_hash: str = ""
    checks: int = 0
    hints: int = 0


@dataclass(frozen=True)
class Line:  # of the board
    exercise: Exercise
    status: str
    record: Record


_not_stored: dict[str, Record] = {}  # what this process could not write


def load() -> tuple[dict[str, Record], str]:
    """All records by exercise id, and what was wrong with the file ("" if nothing was)."""
    stored, problem = _stored()
    return {id: _record(fields) for id, fields in stored.items()} | _not_stored, problem


def change(id: str, edit: Callable[[Record], None]) -> str:
    """Change the record of one exercise and store it in one step. Returns why it could not be stored, or ""."""
    path = exercises_dir() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_LIMIT):
            stored, problem = _stored()
            if problem and path.is_file():  # keep a copy under a name of its own
                now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
                write_whole(path.with_name(f"{path.name}.damaged-{now}"), path.read_bytes())
            record = _not_stored.get(id) or _record(stored.get(id, {}))
            edit(record)
            stored[id] = {**stored.get(id, {}), **asdict(record)}  # what a newer version has added stays
            write_whole(path, json.dumps(dict(sorted(stored.items())), indent=1).encode())
        _not_stored.pop(id, None)
        return ""
    except (OSError, NotImplementedError) as error:  # a lock that is not given, and a file system without locks
        record = load()[0].get(id, Record())
        edit(record)
        _not_stored[id] = record
        why = getattr(error, "strerror", None) or error
        return f"{path} cannot be written ({why}); this is remembered until Python ends."


def remember(outcome: Outcome) -> str:
    """Record what a check found. Returns why it could not be stored, or ""."""

    def edit(record: Record) -> None:
        record.checks += outcome.status != NOT_ATTEMPTED
        if outcome.source_hash or outcome.status == NOT_ATTEMPTED:  # else the file was at fault: an older pass stands
            record.status, record.source_hash = outcome.status, outcome.source_hash

    return change(outcome.exercise.id, edit)


def forget(exercise: Exercise) -> None:
    """After a reset: nothing is written, and the hints start over."""
    change(exercise.id, lambda record: vars(record).update(status=NOT_ATTEMPTED, source_hash="", hints=0))


def board() -> tuple[list[Line], list[str]]:
    """The state of every exercise as the files and the records say now, and what could not be read."""
    records, problem = load()
    problems = [problem] if problem else []
    lines = []
    for exercise in exercises():
        record = records.get(exercise.id, Record())
        try:
            written = exercise.language.find(exercise, read(exercise.file))
        except FileProblem as found:
            status = CHANGED if record.source_hash else NOT_ATTEMPTED
            problems += [found.problem] if found.problem not in problems else []
        else:
            known = record.source_hash == written.hash and record.status in (PASSED, FAILED)
            status = NOT_ATTEMPTED if not written.attempted else record.status if known else CHANGED
        lines.append(Line(exercise, status, record))
    return lines, problems


def _stored() -> tuple[dict[str, dict[str, Any]], str]:
    """The file's content as it is, less what cannot be a record; and what was wrong with it."""
    path = exercises_dir() / FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"{path} cannot be read ({error.strerror})."
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        return {}, f"{path} is damaged; the next check sets it aside and starts a new one."
    usable = {id: record for id, record in stored.items() if isinstance(record, dict)}
    lost = clipped(", ".join(sorted(stored.keys() - usable.keys())), 100)
    return usable, f"{path} is damaged at {lost}; the next check keeps a copy and the rest." if lost else ""


def _record(stored: dict[str, Any]) -> Record:
    """A record from what was stored; a field that is missing, of another type or negative counts as never set."""
    good = {name: stored[name] for name, default in asdict(Record()).items() if type(stored.get(name)) is type(default)}
    return Record(**{name: value for name, value in good.items() if isinstance(value, str) or value >= 0})
