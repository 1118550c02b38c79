"""Make the exercise files from the engine: the function stays, its body goes.

    python -m yaie.course.generate            write exercises/
    python -m yaie.course.generate --check    say which files are out of date (exit 1), write nothing
    python -m yaie.course.generate --to DIR   write elsewhere; with --solved the bodies stay in

A file carries the hash of its own text. A file whose text no longer has that hash was edited by a learner: it is never
overwritten, and with --check it is left out with a line that says so (except where CI=true, which leaves nothing out).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import inspect
import os
import re
import sys
from functools import cache
from pathlib import Path

from yaie.course import cuda_exercises
from yaie.course.registry import REPOSITORY, Exercise, ExerciseFile, Mutant, exercise_files

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
HASH_LINE = re.compile(r"^(?:#|//) generated, text hash ([0-9a-f]{16})$", re.MULTILINE)


@cache
def _module_source(module: str) -> tuple[str, ast.Module]:
    source = inspect.getsource(importlib.import_module(module))
    return source, ast.parse(source)


def find_function(tree: ast.Module, qualname: str) -> FunctionNode | None:
    """The definition of `qualname` ("function" or "Class.method") in a parsed file."""
    body: list[ast.stmt] = tree.body
    *classes, name = qualname.split(".")
    for class_name in classes:
        found = [node for node in body if isinstance(node, ast.ClassDef) and node.name == class_name]
        if not found:
            return None
        body = found[-1].body
    found = [node for node in body if isinstance(node, FunctionNode) and node.name == name]
    return found[-1] if found else None


def is_hole(node: FunctionNode) -> bool:
    """True while the body is what the generator left: a docstring and `raise NotImplementedError`."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if len(body) != 1 or not isinstance(body[0], ast.Raise) or body[0].exc is None:
        return False
    raised = body[0].exc.func if isinstance(body[0].exc, ast.Call) else body[0].exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def first_line(node: FunctionNode) -> int:
    """The line (from 1) on which the function starts, its decorators included."""
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def reference(exercise: Exercise) -> str:
    """The engine's own source of the exercise's function, as it stands in the engine's file, without indentation."""
    if exercise.is_cuda:
        return cuda_exercises.reference(exercise)
    source, tree = _module_source(exercise.module)
    node = find_function(tree, exercise.qualname)
    if node is None:
        raise LookupError(f"exercise {exercise.id}: {exercise.module} has no function {exercise.qualname}")
    lines = source.splitlines()[first_line(node) - 1 : node.end_lineno]
    return "\n".join(line[node.col_offset :] for line in lines)


def stub(exercise: Exercise) -> str:
    """The function as a learner finds it: broken, or less its body (decorators, signature and docstring stay)."""
    if exercise.broken:
        return _replaced(exercise, *exercise.broken).rstrip("\n")
    if exercise.is_cuda:
        return cuda_exercises.stub(exercise)
    source = reference(exercise)
    node = ast.parse(source).body[0]
    assert isinstance(node, FunctionNode)
    if ast.get_docstring(node) is None:
        raise LookupError(f"exercise {exercise.id}: {exercise.target} needs a docstring; it is all a learner sees")
    header = source.splitlines()[: node.body[0].end_lineno]
    return "\n".join([*header, f'    raise NotImplementedError("exercise {exercise.id}: write this function")'])


def mutated(exercise: Exercise, mutant: Mutant) -> str:
    """The engine's function with the mutant's mistake in it."""
    return _replaced(exercise, mutant.old, mutant.new)


def _replaced(exercise: Exercise, old: str, new: str) -> str:
    source = reference(exercise) + "\n"  # so that a mistake may take out the last line as it does any other
    if source.count(old) != 1:
        raise LookupError(
            f"exercise {exercise.id}: the text to replace occurs {source.count(old)} times, not once, "
            f"in {exercise.target}: {old!r}"
        )
    return source.replace(old, new)


def is_untouched(exercise: Exercise, node: FunctionNode) -> bool:
    """True while the function in a learner's file is what the generator left there, whatever the docstring says."""
    if not exercise.broken:
        return is_hole(node)
    found, left = ast.parse(ast.unparse(node)).body[0], ast.parse(stub(exercise)).body[0]
    for each in (found, left):
        if ast.get_docstring(each) is not None:
            del each.body[0]
    return ast.dump(found) == ast.dump(left)


def exercise_file(file: ExerciseFile, bodies: dict[str, str] | None = None) -> str:
    """The text of an exercise file. `bodies` gives the source to use for some exercises (by id)."""
    bodies = bodies or {}
    functions = {exercise.id: bodies.get(exercise.id) or stub(exercise) for exercise in file.exercises}
    text = cuda_exercises.exercise_file(file, functions) if file.is_cuda else _python_file(file, functions)
    return text.replace("HASH", text_hash(text), 1)


def _python_file(file: ExerciseFile, functions: dict[str, str]) -> str:
    """The text of a file with Python exercises, less the hash."""
    parts = [_docstring(file), "from __future__ import annotations", _imports(file)]
    classes_written: set[tuple[str, str]] = set()
    for exercise in file.exercises:
        class_name = exercise.qualname.rpartition(".")[0]
        if not class_name:
            parts.append(f"\n{_banner(exercise)}\n{functions[exercise.id]}")
        elif (exercise.module, class_name) not in classes_written:
            classes_written.add((exercise.module, class_name))
            members = [
                other
                for other in file.exercises
                if other.module == exercise.module and other.qualname.rpartition(".")[0] == class_name
            ]
            parts.append(_class(class_name, exercise.module, [(x, functions[x.id]) for x in members]))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def text_hash(text: str) -> str:
    """Hash of a generated file's text; the line that holds the hash itself is left out."""
    mark = ("# generated, text hash ", "// generated, text hash ")
    lines = [line for line in text.splitlines() if not line.startswith(mark)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def was_edited(text: str) -> bool:
    """True where a learner has changed the file since it was generated."""
    recorded = HASH_LINE.search(text)
    return recorded is None or recorded.group(1) != text_hash(text)


def _docstring(file: ExerciseFile) -> str:
    lesson, first = file.lesson, file.exercises[0].id
    return (
        f'"""Exercises of lesson {lesson.number:02d}: {lesson.title}.\n\n'
        f"{file.what_to_do}\n"
        f'`yaie.exercise("{first}").check()` in the notebook, or `yaie check {first}` in a terminal.\n'
        "Functions that you have not written yet are filled in with the engine's own, so any order works.\n"
        '"""\n'
        "# generated, text hash HASH"
    )


def _banner(exercise: Exercise) -> str:
    title = f"# {'-' * 10} Exercise {exercise.id}: {exercise.title} (about {exercise.minutes} minutes) {'-' * 10}"
    return f"{title}\n# There is a mistake in this function." if exercise.broken else title


def _class(name: str, module: str, members: list[tuple[Exercise, str]]) -> str:
    lines = [f"\nclass {name}({module.rpartition('.')[2]}.{name}):"]
    lines.append(f'    """The engine\'s `{name}`. The methods below replace its own; everything else is inherited."""')
    for exercise, source in members:
        lines += ["", *(f"    {line}" for line in _banner(exercise).splitlines())]
        lines += [f"    {line}" if line else "" for line in source.splitlines()]
    return "\n".join(lines)


def _imports(file: ExerciseFile) -> str:
    """Import lines for every name that the reference functions use from their module."""
    modules: set[str] = set()  # import ...
    names: dict[str, set[str]] = {}  # from ... import ...
    own = {exercise.qualname.partition(".")[0] for exercise in file.exercises}
    for exercise in file.exercises:
        if "." in exercise.qualname:
            package, _, module = exercise.module.rpartition(".")
            names.setdefault(package, set()).add(module)
        imported, defined = _bindings(exercise.module)
        for name in _names_used(reference(exercise)):
            if name in imported:
                source, what = imported[name]
                modules.add(what) if source is None else names.setdefault(source, set()).add(what)
            elif name in defined and name not in own:
                names.setdefault(exercise.module, set()).add(name)
    lines = [(line.split()[0], f"import {line}") for line in sorted(modules)]
    lines += [(source, f"from {source} import {', '.join(sorted(what))}") for source, what in sorted(names.items())]
    groups: dict[str, list[str]] = {"standard": [], "other": [], "yaie": []}
    for source, line in lines:
        top = source.partition(".")[0]
        groups["yaie" if top == "yaie" else "standard" if top in sys.stdlib_module_names else "other"].append(line)
    return "\n\n".join("\n".join(group) for group in groups.values() if group)


def _bindings(module: str) -> tuple[dict[str, tuple[str | None, str]], set[str]]:
    """(name -> (module it is imported from or None, what is imported), names defined at the top level)."""
    imported: dict[str, tuple[str | None, str]] = {}
    defined: set[str] = set()
    for node in _module_source(module)[1].body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = node.module if isinstance(node, ast.ImportFrom) else None
            for alias in node.names:
                name = alias.asname or (alias.name if source else alias.name.partition(".")[0])
                imported[name] = (source, alias.name + (f" as {alias.asname}" if alias.asname else ""))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined.update(target.id for target in targets if isinstance(target, ast.Name))
    imported.pop("annotations", None)  # from __future__, which every exercise file has
    return imported, defined


def _names_used(source: str) -> set[str]:
    """The names in the code and, as a learner reads of them there, those between backticks in the docstring."""
    tree = ast.parse(source)
    quoted = re.findall(r"`([^`]+)`", ast.get_docstring(tree.body[0]) or "")
    mentioned = {name for text in quoted for name in re.findall(r"(?<![.\w])[A-Za-z_]\w*", text)}
    return mentioned | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def solved_file(file: ExerciseFile) -> str:
    """The exercise file with the engine's own bodies in it."""
    return exercise_file(file, {exercise.id: reference(exercise) for exercise in file.exercises})


def write(directory: Path, *, solved: bool = False) -> list[Path]:
    """Write all exercise files; those that a learner edited stay as they are. Returns the files left alone."""
    directory.mkdir(parents=True, exist_ok=True)
    kept = []
    for file in exercise_files():
        path = directory / file.name
        if path.exists() and was_edited(path.read_text(encoding="utf-8")):
            kept.append(path)
            continue
        path.write_text(solved_file(file) if solved else exercise_file(file), encoding="utf-8")
    return kept


def out_of_date(directory: Path) -> tuple[list[Path], list[Path]]:
    """(files that differ from what the engine gives now, files that a learner edited and that were not compared)."""
    stale, edited = [], []
    for file in exercise_files():
        path = directory / file.name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text and was_edited(text) and os.environ.get("CI") != "true":
            edited.append(path)
        elif text != exercise_file(file):
            stale.append(path)
    return stale, edited


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m yaie.course.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where a file is out of date")
    parser.add_argument("--to", type=Path, default=REPOSITORY / "exercises", help="folder to write to")
    parser.add_argument("--solved", action="store_true", help="leave the engine's bodies in")
    options = parser.parse_args(arguments)
    if options.check:
        stale, edited = out_of_date(options.to)
        for path in edited:
            print(f"{path.name}: edited by a learner, not compared")
        for path in stale:
            print(f"{path.name}: differs from the engine; run python -m yaie.course.generate")
        return 1 if stale else 0
    for path in write(options.to, solved=options.solved):
        print(f"{path.name}: edited by a learner, left as it is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
