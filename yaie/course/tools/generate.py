"""Make the exercise files from the engine: the function stays, its body goes.

    python -m yaie.course.tools.generate            bring exercises/ up to date; what learners wrote in it stays
    python -m yaie.course.tools.generate --check    say which files are not (exit 1), write nothing
    python -m yaie.course.tools.generate --to DIR   write elsewhere; with --solved the bodies stay in

A file carries the hash of its own text. A file whose text no longer has that hash was edited by a learner.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from yaie.course.files import HOME, LEFT, NEW, SAME, renew
from yaie.course.registry import exercise_files


def write(directory: Path, *, solved: bool = False) -> dict[str, str]:
    """Bring all exercise files of a folder up to date. Returns what was done with each: see `files.renew`."""
    done = {}
    for file in exercise_files():
        text = file.language.solved(file) if solved else file.language.render(file)
        done[file.name] = renew(file, directory / file.name, text)
    return done


def out_of_date(directory: Path) -> list[Path]:
    """The files that are older than the engine. One that was never made is not."""
    paths = {directory / file.name: file for file in exercise_files()}
    states = ((path, renew(file, path, file.language.render(file), only_look=True)) for path, file in paths.items())
    return [path for path, state in states if state not in (NEW, SAME)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m yaie.course.tools.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where a file is out of date")
    parser.add_argument("--to", type=Path, default=HOME, help="folder to write to")
    parser.add_argument("--solved", action="store_true", help="leave the engine's bodies in")
    options = parser.parse_args(arguments)
    if options.check:
        stale = out_of_date(options.to)
        for path in stale:
            print(f"{path.name}: differs from the engine; run python -m yaie.course.tools.generate")
        return 1 if stale else 0
    for name, state in write(options.to, solved=options.solved).items():
        if state == LEFT:
            print(f"{name}: edited in a way that could not be merged, left as it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
