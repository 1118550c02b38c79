"""How long a learner waits for a check: cold, warm and passing, warm and failing with its mutants.

A warm check that passes must take at most 1 s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from yaie.bench.harness import environment, measure, print_header, print_table, save_results
from yaie.course import checks, generate
from yaie.course.registry import Exercise, exercises
from yaie.course.sandbox import Sandbox

LIMIT = 1.0  # seconds


def wrong_answer(exercise: Exercise) -> str:
    """A file whose check fails and has to try every mutant: the function gives something no mutant does."""
    if exercise.is_cuda:
        header = generate.stub(exercise).partition("{")[0]
        body = f'{header}{{\n    printf("no such answer");\n    __trap();\n}}'
    else:
        body = generate.stub(exercise).rpartition("\n")[0] + "\n    return 'no such answer'"
    return generate.exercise_file(exercise.file, {exercise.id: body})


def main(arguments: list[str]) -> None:
    """Time every exercise with one warm sandbox, and the start of a cold one."""
    parser = argparse.ArgumentParser(prog="python -m yaie.bench checks")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="record the result in yaie/bench/results")
    options = parser.parse_args(arguments)
    facts = environment("checks", arguments)
    print_header(facts)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["YAIE_EXERCISES_DIR"] = folder
        generate.write(Path(folder))
        results = _measure(options.repeats)
    rows = [(name, *map(str, timings.values())) for name, timings in results["exercises"].items()]
    print(f"\nCold start (import of torch in the server, and one check): {results['cold']}\n")
    print_table("Warm checks", ["exercise", "passes", "fails, all mutants tried"], rows)
    slowest = max(timings["passes"].median for timings in results["exercises"].values())
    verdict = "within" if slowest <= LIMIT else "MORE THAN"
    print(f"The slowest passing check takes {slowest:.2f} s, {verdict} the {LIMIT:.0f} s that it may take.")
    if options.save:
        print(f"Recorded in {save_results('checks', facts, results)}")


def _measure(repeats: int) -> dict:
    first = exercises()[0]

    def cold() -> None:
        sandbox = Sandbox()
        checks.check(first.id, generate.solved_file(first.file), sandbox)
        sandbox.close()

    results: dict = {"cold": measure(cold, repeats=3, warmup=1), "exercises": {}}
    sandbox = Sandbox()
    for exercise in exercises():
        results["exercises"][exercise.id] = {
            "passes": _timed(exercise, generate.solved_file(exercise.file), checks.PASSED, sandbox, repeats),
            "fails": _timed(exercise, wrong_answer(exercise), checks.FAILED, sandbox, repeats),
        }
    sandbox.close()
    return results


def _timed(exercise: Exercise, text: str, status: str, sandbox: Sandbox, repeats: int):
    def run() -> None:
        outcome = checks.check(exercise.id, text, sandbox)
        if outcome.status != status:
            raise RuntimeError(f"exercise {exercise.id} was to be {status}:\n{outcome}")

    return measure(run, repeats=repeats)
