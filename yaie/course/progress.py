"""What a learner has done so far: `.progress.json` beside the exercise files, and the board that shows it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from yaie.course import learner
from yaie.course.checks import FAILED, NOT_ATTEMPTED, PASSED, Outcome
from yaie.course.registry import Exercise, lessons

CHANGED = "changed"  # attempted, and not checked since it was last edited


@dataclass
class Record:
    """What is remembered of one exercise. `source_hash` is of the function as it was last checked."""

    status: str = NOT_ATTEMPTED
    source_hash: str = ""
    checks: int = 0
    hints: int = 0
    last_checked: str = ""


@dataclass(frozen=True)
class Line:
    """One line of the board."""

    exercise: Exercise
    status: str
    checks: int
    hints: int


def load() -> dict[str, Record]:
    """All records by exercise id. A damaged file is set aside, and that is said."""
    path = _path()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {id: Record(**record) for id, record in stored.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        aside = path.with_suffix(".damaged.json")
        os.replace(path, aside)
        print(
            f"{path} could not be read; it was moved to {aside.name} and the board starts anew.",
            file=sys.stderr,
        )
        return {}


@contextmanager
def update(id: str) -> Iterator[Record]:
    """The record of one exercise, to be changed; it is stored in one step when the block ends."""
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".json.lock"), timeout=10):
        records = load()
        record = records.setdefault(id, Record())
        yield record
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8"
        ) as new:
            json.dump({key: asdict(value) for key, value in sorted(records.items())}, new, indent=1)
        os.replace(new.name, path)


def remember(outcome: Outcome) -> None:
    """Record what a check found."""
    with update(outcome.exercise.id) as record:
        record.status = outcome.status
        record.source_hash = outcome.source_hash
        record.checks += outcome.status != NOT_ATTEMPTED
        record.last_checked = datetime.now(UTC).isoformat(timespec="seconds")


def board() -> list[Line]:
    """The state of every exercise, as the files and the records say now."""
    records = load()
    lines = []
    for lesson in lessons():
        for exercise in lesson.exercises:
            record = records.get(exercise.id, Record())
            lines.append(Line(exercise, _status(exercise, record), record.checks, record.hints))
    return lines


def _status(exercise: Exercise, record: Record) -> str:
    try:
        written = learner.find(exercise, learner.read(exercise.lesson))
    except learner.FileProblem:
        return FAILED
    if not written.attempted:
        return NOT_ATTEMPTED
    if record.source_hash != written.hash or record.status not in (PASSED, FAILED):
        return CHANGED
    return record.status


def next_line(lines: list[Line]) -> Line | None:
    """What comes next: the first exercise in order that has not been passed."""
    return next((line for line in lines if line.status != PASSED), None)


def _path() -> Path:
    return learner.exercises_dir() / ".progress.json"
