"""A learner's exercise file: read it, see what has been written, put that into the engine.

Reading never runs the file. Running it (`load`, `install`) is for the sandbox, and for a learner who asks the engine to
use their parts.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import linecache
import os
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaie.course.generate import exercise_file, find_function, first_line, is_hole, reference
from yaie.course.registry import REPOSITORY, Exercise, Lesson


class FileProblem(Exception):
    """Why a learner's file cannot be checked: a sentence, and the next step."""

    def __init__(self, problem: str, next_step: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.next_step, self.line = problem, next_step, line


@dataclass(frozen=True)
class Written:
    """One function as it stands in the learner's file."""

    exercise: Exercise
    attempted: bool
    source: str
    first_line: int
    last_line: int

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


def exercises_dir() -> Path:
    """The folder with the exercise files: `exercises/`, or what YAIE_EXERCISES_DIR names."""
    return Path(os.environ.get("YAIE_EXERCISES_DIR") or REPOSITORY / "exercises")


def exercise_path(lesson: Lesson) -> Path:
    """Where the learner edits the exercises of a lesson."""
    return exercises_dir() / lesson.exercise_file


def read(lesson: Lesson) -> str:
    """The text of the lesson's exercise file; a file that is missing is as if nothing had been written yet."""
    path = exercise_path(lesson)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return exercise_file(lesson)
    except UnicodeDecodeError as error:
        raise FileProblem(f"{path.name} is not UTF-8 text: {error}", "Save the file as UTF-8.") from error


def parse(text: str, name: str) -> ast.Module:
    """Parse a learner's file; a syntax error becomes a `FileProblem` that shows the line."""
    try:
        return ast.parse(text, name)
    except SyntaxError as error:
        shown = f": `{error.text.strip()}`" if error.text else ""
        raise FileProblem(
            f"{name} has a syntax error in line {error.lineno}{shown} ({error.msg}).",
            "Python cannot read the file at all until this line is right. Mend it and save.",
            error.lineno,
        ) from error
    except ValueError as error:  # null bytes
        raise FileProblem(f"{name} cannot be read as Python: {error}.", "Save it as plain text.") from error


def find(exercise: Exercise, text: str) -> Written:
    """The exercise's function in the text of a learner's file. Raises `FileProblem` where it is missing or renamed."""
    name = exercise.lesson.exercise_file
    tree = parse(text, name)
    node = find_function(tree, exercise.qualname)
    if node is None:
        raise FileProblem(
            f"{name} has no function `{exercise.qualname}`, which exercise {exercise.id} is about."
            + _renamed(exercise, tree),
            f"Give the function its name back, or run `yaie reset {exercise.id}` (a backup is kept).",
        )
    _same_signature(exercise, node)
    start, end = first_line(node), node.end_lineno or node.lineno
    source = "\n".join(text.splitlines()[start - 1 : end])
    return Written(exercise, not is_hole(node), source, start, end)


def _renamed(exercise: Exercise, tree: ast.Module) -> str:
    known = {other.function for other in exercise.lesson.exercises}
    names = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in known
    ]
    close = difflib.get_close_matches(exercise.function, names, n=1, cutoff=0.5)
    return f" It has `{close[0]}`: was it renamed?" if close else ""


def _same_signature(exercise: Exercise, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    original = ast.parse(reference(exercise)).body[0]
    assert isinstance(original, ast.FunctionDef | ast.AsyncFunctionDef)
    wanted, found = _parameters(original), _parameters(node)
    if wanted != found:
        raise FileProblem(
            f"`{exercise.qualname}` takes ({', '.join(found)}) in line {node.lineno} of "
            f"{exercise.lesson.exercise_file}; the engine calls it with ({', '.join(wanted)}).",
            "Give the function its parameters back: other parts of the engine rely on them.",
            node.lineno,
        )


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    spec = node.args
    names = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
    names += [f"*{spec.vararg.arg}"] if spec.vararg else []
    names += [arg.arg for arg in spec.kwonlyargs]
    return names + ([f"**{spec.kwarg.arg}"] if spec.kwarg else [])


def load(lesson: Lesson, text: str) -> types.ModuleType:
    """Run a learner's file and return it as a module. Whatever its top level raises comes out of here."""
    path = str(exercise_path(lesson))
    module = types.ModuleType(f"exercises.{lesson.name}")
    module.__file__ = path
    sys.modules[module.__name__] = module
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    exec(compile(text, path, "exec"), module.__dict__)
    return module


def install(module: types.ModuleType, lesson: Lesson, use: Iterable[str]) -> None:
    """Put the learner's functions with the ids in `use` into the engine, and the engine's own into all other holes."""
    for exercise in lesson.exercises:
        holder_name, _, name = exercise.qualname.rpartition(".")
        engine = importlib.import_module(exercise.module)
        engine_holder = getattr(engine, holder_name) if holder_name else engine
        learner_holder = getattr(module, holder_name) if holder_name else module
        if exercise.id in use:
            theirs = vars(learner_holder)[name]
            if holder_name:
                setattr(engine_holder, name, theirs)
            else:
                _replace_everywhere(getattr(engine, name), theirs, name)
        elif holder_name:
            if name in vars(learner_holder):
                delattr(learner_holder, name)  # inherited from the engine's class again
        else:
            setattr(module, name, getattr(engine, name))


def _replace_everywhere(old: Any, new: Any, name: str) -> None:
    """Rebind a module-level function wherever `from module import name` has put it."""
    for module in list(sys.modules.values()):
        if (
            getattr(module, "__name__", "").startswith(("yaie.", "exercises."))
            and vars(module).get(name) is old
        ):
            setattr(module, name, new)
