"""Make the exercise files from the engine: the function stays, its body goes.

    python -m yaie.course.tools.generate            write exercises/
    python -m yaie.course.tools.generate --check    say which files are out of date (exit 1), write nothing
    python -m yaie.course.tools.generate --to DIR   write elsewhere; with --solved the bodies stay in

A file carries the hash of its own text. A file whose text no longer has that hash was edited by a learner: it is never
overwritten, and with --check it is left out with a line that says so (except where CI=true, which leaves nothing out).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from yaie.course import REPOSITORY
from yaie.course.files import was_edited, write_whole
from yaie.course.registry import exercise_files


def write(directory: Path, *, solved: bool = False) -> list[Path]:
    """Write all exercise files; those that a learner edited stay as they are. Returns the files left alone."""
    directory.mkdir(parents=True, exist_ok=True)
    kept = []
    for file in exercise_files():
        path = directory / file.name
        if path.exists() and was_edited(path.read_text(encoding="utf-8")):
            kept.append(path)
            continue
        write_whole(path, (file.language.solved(file) if solved else file.language.render(file)).encode())
    return kept


def out_of_date(directory: Path) -> tuple[list[Path], list[Path]]:
    """(files that differ from what the engine gives now, files that a learner edited and that were not compared)."""
    stale, edited = [], []
    for file in exercise_files():
        path = directory / file.name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text and was_edited(text) and os.environ.get("CI") != "true":
            edited.append(path)
        elif text != file.language.render(file):
            stale.append(path)
    return stale, edited


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m yaie.course.tools.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where a file is out of date")
    parser.add_argument("--to", type=Path, default=REPOSITORY / "exercises", help="folder to write to")
    parser.add_argument("--solved", action="store_true", help="leave the engine's bodies in")
    options = parser.parse_args(arguments)
    if options.check:
        stale, edited = out_of_date(options.to)
        for path in edited:
            print(f"{path.name}: edited by a learner, not compared")
        for path in stale:
            print(f"{path.name}: differs from the engine; run python -m yaie.course.tools.generate")
        return 1 if stale else 0
    for path in write(options.to, solved=options.solved):
        print(f"{path.name}: edited by a learner, left as it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
