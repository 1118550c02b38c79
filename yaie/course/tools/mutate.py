"""`yaie dev mutate 12.2`: small changes of the engine's function, one at a time, that the exercise's check lets pass.

Each is a hole in the check, or changes nothing that the exercise asks for: read the difference to tell which.

`python -m yaie.course.tools.mutate origin/main` does so with the exercises that differ from that commit, 20 changes
each; CI lists what passes.
"""

from __future__ import annotations

import difflib
import os
import random
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from yaie.course import REPOSITORY, judge
from yaie.course.changes import changed, changes
from yaie.course.files import FileProblem
from yaie.course.language import CUDA
from yaie.course.language.cuda_text import blanked
from yaie.course.registry import Exercise, exercises
from yaie.course.sandbox import Sandbox

# `csrc/` is formatted: blanks stand around an operator of two operands, and around no other mark of that look.
# fmt: off
CUDA_OPERATORS = {
    "<": ("<=",), "<=": ("<",), ">": (">=",), ">=": (">",), "==": ("!=",), "!=": ("==",), "&&": ("||",), "||": ("&&",),
    "+": ("-",), "-": ("+",), "*": ("+",), "/": ("*",), "%": ("/",), "+=": ("-=", "="), "*=": ("=",), ">>": ("<<",),
    "<<": (">>",), "&": ("|",), "|": ("&",), ">>=": (">>= 1 +",), "=": ("+=",),
}
# fmt: on
WORDS = {"min": "max", "max": "min", "fminf": "fmaxf", "fmaxf": "fminf", "continue": "break", "break": "continue"}
STATEMENT = re.compile(
    r"(?<=[;{})])\s*((?:return|break|continue|[\w:.\->]+(?:<[^;<>]*>)?(?:\[[^;]*\])?\s*[-+*/]?[=(+-])[^;{}]*;)"
)


def in_cuda(source: str) -> Iterator[str]:
    """All single changes of the body of a function in CUDA, by its words. Some will not compile."""
    code = blanked(source)
    body = code.index("{") + 1
    found: list[tuple[int, int, str]] = []
    for match in re.compile(r"(?<= )(?:[<>=!*+]=|&&|\|\||>>=?|<<|[-<>+*/%&|=])(?= )").finditer(code, body):
        found += [(*match.span(), new) for new in CUDA_OPERATORS[match[0]]]
    for match in re.compile(r"(?<![\w.])\d+(?![\w.])").finditer(code, body):
        found += [(*match.span(), f"({match[0]} {sign} 1)") for sign in "+-"]
    for match in re.compile(r"\b\w+\b").finditer(code, body):
        found += [(*match.span(), WORDS[match[0]])] if match[0] in WORDS else []
    for match in re.compile(r"\w\(([^(),;]+),( ?)([^(),;]+)(?=[,)])").finditer(code, body):
        one, other = source[slice(*match.span(1))], source[slice(*match.span(3))]
        found += [(match.start(1), match.end(3), f"{other},{match[2]}{one}")]
    for match in STATEMENT.finditer(code, body):
        found += [(*match.span(1), ";")]
    return (source[:start] + new + source[end:] for start, end, new in sorted(found))


def in_python(source: str) -> Iterator[str]:
    return (changed(source.encode(), change).decode() for change in changes(source.encode()))


def survivors(exercise: Exercise, count: int | None = None) -> tuple[int, list[str]]:
    """How many changes were tried (`count` random ones, or all), and the differences that the check let pass.

    Raises ValueError where the engine's own function does not pass: then no change can, and that says nothing.
    """
    language = exercise.language
    outcome, source = judge.check(exercise.id, language.solved(exercise.file)), language.reference(exercise)
    if not outcome.passed:
        raise ValueError(f"the engine's own function does not pass: {outcome}")
    every = list(in_cuda(source) if language is CUDA else in_python(source))
    chosen = every if count is None else random.Random(0).sample(every, min(count, len(every)))
    texts = [language.render(exercise.file, {exercise.id: new}) for new in chosen]
    language.prepare(exercise, texts)

    def passes(texts: list[str]) -> list[bool]:
        with closing(Sandbox()) as sandbox:
            return [_passes(exercise, text, sandbox) for text in texts]

    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        passed = list(pool.map(passes, [texts[worker::workers] for worker in range(workers)]))
    left = [new for number, new in enumerate(chosen) if passed[number % workers][number // workers]]
    differences = (difflib.unified_diff(source.splitlines(), new.splitlines(), lineterm="", n=1) for new in left)
    return len(chosen), ["\n".join(list(lines)[2:]) for lines in differences]


def _passes(exercise: Exercise, text: str, sandbox: Sandbox) -> bool:
    try:
        exercise.language.find(exercise, text)
    except FileProblem:
        return False
    return judge.passes(exercise, text, sandbox)


def touched(paths: Collection[str]) -> list[Exercise]:
    """The exercises whose folder or function lies in one of these files, named from the repository's root."""
    found = []
    for exercise in exercises():
        file = exercise.module if exercise.language is CUDA else f"{exercise.module.replace('.', '/')}.py"
        folder = f"{exercise.folder.relative_to(REPOSITORY).as_posix()}/"
        if any(path == file or path.startswith(folder) for path in paths):
            found.append(exercise)
    return found


if __name__ == "__main__":
    differ = ["git", "diff", "--name-only", f"{sys.argv[1]}...HEAD"]
    for exercise in touched(subprocess.check_output(differ, cwd=REPOSITORY, text=True).splitlines()):
        tried, left = survivors(exercise, count=20)
        print(f"{exercise.id} {exercise.title}: {tried} changes tried, {len(left)} pass the check", *left, sep="\n\n")
