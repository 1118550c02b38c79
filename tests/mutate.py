"""Changes that tests ought to notice: makes random ones, one at a time, and shows those that all tests survive.

    python -m tests.mutate yaie/engine/pages.py yaie/kernels/radix_tree.py --seed 1 --count 40

A change is one operator, bound, constant, condition, statement, order of arguments, or jump. It is made in a copy of
the repository, so whatever stops this, the working tree is as it was. The tests of `yaie/engine/pages.py` are those in
`tests/engine`, the ones that name it first, until one fails; a hang counts as failed. Each run is a fork of this
process, which has imported what takes seconds, and nothing of `yaie`. The same files, seed and count give the same
changes, so `--only 3 17` tries two of them again.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import platformdirs
import pytest

from yaie.course.changes import changed, changes

ROOT = Path(__file__).parents[1]
NOT_COPIED = (".git", ".venv", ".hypothesis", ".*_cache", "__pycache__", "build")


def tests_of(file: Path) -> list[str]:
    """The tests in the mirror of a file: those with its name, those that speak of it, the others."""
    folder = ROOT / "tests" / Path(*file.parts[1:-1])
    while not folder.is_dir():
        folder = folder.parent
    found = folder.glob("test_*.py") if len(file.parts) == 2 else folder.rglob("test_*.py")
    stem = file.parent.name if file.stem == "__init__" else file.stem
    ordered = sorted(found, key=lambda test: (stem not in test.stem, stem not in test.read_text(), test))
    return [str(test.relative_to(ROOT)) for test in ordered]


def _run_tests(copy: Path, tests: list[str], seed: int) -> None:
    os.setsid()  # what the tests start is ended with them
    output = os.open(copy / "output.txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(output, stream)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "yaie")]:
        del sys.modules[name]
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True  # two changes within a second can have one size, and would have one .pyc
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy), "YAIE_TEST_SEED": str(seed)}
    os.environ["YAIE_CACHE_DIR"] = str(copy / "cache")
    sys.exit(pytest.main(["-x", "-q", "--tb=short", "-n0", "-pno:cacheprovider", *tests]))


def passes(copy: Path, tests: list[str], seed: int, limit: float | None = None) -> bool:
    """Runs tests on the copy, with builds of their own: a compiler that was changed leaves nothing behind."""
    shutil.rmtree(copy / "cache", ignore_errors=True)
    cache = Path(os.environ.get("YAIE_CACHE_DIR") or platformdirs.user_cache_dir("yaie"))
    if cache.is_dir():
        shutil.copytree(cache, copy / "cache", copy_function=_link, ignore=shutil.ignore_patterns("building-*"))
    run = multiprocessing.get_context("fork").Process(target=_run_tests, args=(copy, tests, seed))
    run.start()
    try:
        run.join(limit)
        return run.exitcode == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # it ended with all that it had started
            os.killpg(run.pid, signal.SIGKILL)


def _link(old: str, new: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process may tidy the cache up meanwhile
        try:
            os.link(old, new)
        except OSError:  # another file system
            shutil.copy2(old, new)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILES", help="Python files under yaie/")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=20, help="how many changes, over all files")
    parser.add_argument("--tests", nargs="+", help="run these in place of the files' mirrors")
    parser.add_argument("--only", nargs="+", type=int, metavar="NUMBER", help="of these changes, as a run printed them")
    options = parser.parse_args(arguments)
    sources = {file.resolve().relative_to(ROOT): file.read_bytes() for file in options.files}
    pool = [(file, change) for file, source in sources.items() for change in changes(source)]
    drawn = enumerate(random.Random(options.seed).sample(pool, min(options.count, len(pool))))
    chosen = sorted((file, number, change) for number, (file, change) in drawn if number in (options.only or [number]))
    tried, survived, seconds = Counter(), Counter(), {}
    for name in ("torch", "hypothesis.strategies", "nbval.plugin", "scipy.stats"):
        importlib.import_module(name)  # each fork would take seconds for them

    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        for file, number, change in chosen:
            tests, source = options.tests or tests_of(file), sources[file]
            if file not in seconds:
                started = time.monotonic()
                if not passes(copy, tests, options.seed):
                    sys.exit(f"The tests of {file} fail without a change:\n{(copy / 'output.txt').read_text()[-4000:]}")
                seconds[file] = time.monotonic() - started
            new = changed(source, change)
            (copy / file).write_bytes(new)
            tried[file] += 1
            if passes(copy, tests, options.seed, limit=30 + 5 * seconds[file]):
                survived[file] += 1
                print(f"{file}:{len(source[: change[0] + 1].splitlines())}  survived, number {number}")
                lines = [text.decode().splitlines() for text in (source, new)]
                print(*list(difflib.unified_diff(*lines, lineterm="", n=1))[2:], "", sep="\n", flush=True)
            (copy / file).write_bytes(source)
    print(f"{'file':50} tried  killed  survived")
    for file in [*tried, "all"]:
        some, left = (count.total() if file == "all" else count[file] for count in (tried, survived))
        print(f"{file!s:50} {some:5}  {some - left:6}  {left:8}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
