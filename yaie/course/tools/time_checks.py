"""How long a learner waits for a check: cold, warm and passing, warm and failing with all known mistakes tried.

    python -m yaie.course.tools.time_checks [--repeats N]

A warm check that passes must take at most 1 s; the exit status says whether all do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from yaie.course import judge
from yaie.course.registry import Exercise, exercises
from yaie.course.sandbox import Sandbox
from yaie.course.tools import generate

LIMIT = 1.0  # seconds


def seconds(exercise: Exercise, text: str, status: str, sandbox: Sandbox, repeats: int) -> float:
    """The median time of a check, of which one more is made first. Raises RuntimeError for another status."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        outcome = judge.check(exercise.id, text, sandbox)
        times.append(time.perf_counter() - start)
        if outcome.status != status:
            raise RuntimeError(f"exercise {exercise.id} was to be {status}:\n{outcome}")
    return statistics.median(times[1:])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m yaie.course.tools.time_checks")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(arguments).repeats
    slowest, sandbox = 0.0, Sandbox()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["YAIE_EXERCISES_DIR"] = folder
        generate.write(Path(folder))
        for exercise in exercises():
            language, file = exercise.language, exercise.file
            if not slowest:
                start = time.perf_counter()
                judge.check(exercise.id, language.solved(file), sandbox)
                print(f"the first check, which starts the sandbox: {time.perf_counter() - start:.2f} s\n")
                print("exercise   passes    fails, all mistakes tried")
            passes = seconds(exercise, language.solved(file), judge.PASSED, sandbox, repeats)
            wrong = language.render(file, {exercise.id: language.no_such_answer(exercise)})
            fails = seconds(exercise, wrong, judge.FAILED, sandbox, repeats)
            print(f"{exercise.id:<10} {passes:.3f} s   {fails:.3f} s", flush=True)
            slowest = max(slowest, passes)
    sandbox.close()
    print(f"\nThe slowest passing check takes {slowest:.2f} s; {LIMIT:.0f} s is the limit.")
    return int(slowest > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
