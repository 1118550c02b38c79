"""A learner's exercise file: read it, see what has been written, put that into the engine.

Reading never runs the file. Running it (`load`, `install`) is for the sandbox, and for a learner who asks the engine to
use their parts. What depends on the language of the file is in `check_syntax`, `find`, `span`, `load`, `install` and
`owner`, for CUDA with the help of `cuda_exercises`; the rest of the course works with what these return.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import inspect
import linecache
import operator
import os
import re
import sys
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yaie.course import cuda_exercises
from yaie.course.generate import FunctionNode, exercise_file, find_function, first_line, is_untouched, reference
from yaie.course.registry import REPOSITORY, Exercise, ExerciseFile
from yaie.course.written import FileMissing, FileProblem, Written

BINDING = ("staticmethod", "classmethod", "property")  # decorators that change how a method is called


def exercises_dir() -> Path:
    """The folder with the exercise files: `exercises/`, or what YAIE_EXERCISES_DIR names."""
    return Path(os.environ.get("YAIE_EXERCISES_DIR") or REPOSITORY / "exercises").absolute()


def exercise_path(file: ExerciseFile) -> Path:
    """Where the learner edits an exercise file."""
    return exercises_dir() / file.name


def read(file: ExerciseFile) -> str:
    """The text of an exercise file, its lines ended by \\n. Raises `FileProblem` where it cannot be read."""
    path = exercise_path(file)
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors on Windows write a byte order mark
    except FileNotFoundError as error:
        raise FileMissing(
            f"{path} is not there.", f"Run `yaie reset {file.lesson.number}` to have it written anew."
        ) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise FileProblem(
            f"{path.name} is not UTF-8 text: the first other byte is in line {line}.",
            "Save the file as UTF-8 (in VS Code: the encoding at the bottom right).",
        ) from error
    except OSError as error:
        raise FileProblem(
            f"{path} cannot be read: {error.strerror}.", f"Make it a readable file: `chmod u+rw {path}`."
        ) from error


def check_syntax(file: ExerciseFile, text: str) -> None:
    """Raise `FileProblem` where no function can be found in the text because of what stands elsewhere in it."""
    if file.is_cuda:
        cuda_exercises.check_braces(text, file.name)
    else:
        parse(text, file.name)


def parse(text: str, name: str, looking_for: str = "") -> ast.Module:
    """Parse a learner's file; a syntax error becomes a `FileProblem` that shows the line and whose it is."""
    if "\0" in text:
        raise FileProblem(f"{name} contains null bytes, so it is not text.", "Save it as UTF-8 text.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # the check shows it when it runs the file
            return ast.parse(text, name)
    except SyntaxError as error:
        line = error.lineno or 1
        shown = f": `{error.text.strip()}`" if error.text and error.text.strip() else ""
        step = "Python cannot read any of the file until this line is right. Mend it and save."
        around = re.findall(r"^[ \t]*(?:async )?def (\w+)", "\n".join(text.split("\n")[:line]), re.MULTILINE)
        if looking_for and (not around or around[-1] != looking_for):
            place = f"It is in or below `{around[-1]}`" if around else "It is above all functions"
            step = f"{place}, not in `{looking_for}`. {step}"
        if isinstance(error, TabError):
            step = f"Indent with spaces only, four for each step. {step}"
        raise FileProblem(f"{name} has a syntax error in line {line}{shown} ({error.msg}).", step) from error
    except (RecursionError, MemoryError) as error:
        raise FileProblem(
            f"{name} cannot be read as Python: something in it is nested too deep.", "Write it in smaller steps."
        ) from error


def find(exercise: Exercise, text: str) -> Written:
    """The exercise's function in the text of a learner's file.

    Raises `FileProblem` where it is missing or renamed, or can no longer be called as the engine calls it.
    """
    if exercise.is_cuda:
        return cuda_exercises.find(exercise, text)
    tree, node = locate(exercise, text)
    _callable_as_before(exercise, node)
    attempted = not is_untouched(exercise, node)
    hash = _hash(exercise, tree, node) if attempted else ""
    remark = ""
    if attempted and not _returns(node) and _returns(ast.parse(reference(exercise)).body[0]):
        remark = f"`{exercise.function}` has no `return` with a value, so it returns None."
    return Written(exercise, attempted, hash, first_line(node), node.end_lineno or node.lineno, remark)


def span(exercise: Exercise, text: str) -> tuple[int, int]:
    """The first and the last line (from 1) of the function, whatever its parameters. Raises `FileProblem`."""
    if exercise.is_cuda:
        function = cuda_exercises.locate(exercise, text)
        return function.first_line, function.last_line
    _, node = locate(exercise, text)
    return first_line(node), node.end_lineno or node.lineno


def locate(exercise: Exercise, text: str) -> tuple[ast.Module, FunctionNode]:
    """The parsed Python file and the function in it, whatever its parameters. Raises `FileProblem` without one."""
    name = exercise.file.name
    tree = parse(text, name, exercise.function)
    node = find_function(tree, exercise.qualname)
    if node is None:
        raise FileProblem(
            f"{name} has no function `{exercise.qualname}`, which exercise {exercise.id} is about."
            + _where_it_went(exercise, tree),
            f"Put the function back under that name, or run `yaie reset {exercise.lesson.number}` to write the whole "
            "file anew (a backup is kept).",
        )
    return tree, node


def _where_it_went(exercise: Exercise, tree: ast.Module) -> str:
    class_name = exercise.qualname.rpartition(".")[0]
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    if class_name and class_name not in classes:
        close = difflib.get_close_matches(class_name, classes, n=1, cutoff=0.5)
        return f" It has no class `{class_name}`" + (f", but `{close[0]}`: was the class renamed?" if close else ".")
    known = {other.function for other in exercise.file.exercises} - {exercise.function}
    nodes = [node for node in ast.walk(tree) if isinstance(node, FunctionNode) and node.name not in known]
    for node in nodes:
        if node.name == exercise.function:
            return f" Line {node.lineno} has a `{node.name}` in another place: check its indentation."
    close = difflib.get_close_matches(exercise.function, [node.name for node in nodes], n=1, cutoff=0.5)
    return f" It has `{close[0]}`: was it renamed?" if close else ""


def _callable_as_before(exercise: Exercise, node: FunctionNode) -> None:
    """Raise `FileProblem` where parameters, decorators or the kind of function differ from the engine's."""
    original = ast.parse(reference(exercise)).body[0]
    assert isinstance(original, FunctionNode)
    place = f"`{exercise.qualname}` in line {node.lineno} of {exercise.file.name}"
    wanted, found = _parameters(original), _parameters(node)
    extra = found[len(wanted) :]  # parameters of one's own are fine where the engine need not know of them
    if found[: len(wanted)] != wanted or not all("=" in parameter for parameter in extra):
        raise FileProblem(
            f"{place} takes ({', '.join(found)}); the engine calls it with ({', '.join(wanted)}).",
            "Give the function its parameters back: other parts of the engine rely on them.",
        )
    wanted, found = _decorators(original), _decorators(node)
    missing = [f"`@{name}`" for name in wanted if name not in found]
    added = [f"`@{name}`" for name in found if name not in wanted and name in BINDING]
    if missing or added:
        change = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(added)}"
        raise FileProblem(f"{place} {change}, unlike the engine's.", "Put the lines above `def` back.")
    if isinstance(node, ast.AsyncFunctionDef) != isinstance(original, ast.AsyncFunctionDef):
        wrong, right = ("async def", "def") if isinstance(node, ast.AsyncFunctionDef) else ("def", "async def")
        raise FileProblem(f"{place} is defined with `{wrong}`; the engine's with `{right}`.", f"Write `{right}`.")
    if _yields(node) and not _yields(original):
        raise FileProblem(
            f"{place} contains `yield`, which makes it a generator: calling it runs nothing yet.",
            "Return the result with `return`.",
        )


def _parameters(node: FunctionNode) -> list[str]:
    """Names with defaults, and the marks / and *, without annotations: [self, tokens, *, page_size=1]."""
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    defaults = [None] * (len(plain) - len(spec.defaults)) + spec.defaults
    names = list(map(_parameter, plain, defaults))
    if spec.posonlyargs:
        names.insert(len(spec.posonlyargs), "/")
    if spec.vararg or spec.kwonlyargs:
        names.append(f"*{spec.vararg.arg if spec.vararg else ''}")
    names += map(_parameter, spec.kwonlyargs, spec.kw_defaults)
    return names + ([f"**{spec.kwarg.arg}"] if spec.kwarg else [])


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    return arg.arg + (f"={ast.unparse(default)}" if default is not None else "")


def _decorators(node: FunctionNode) -> list[str]:
    return [ast.unparse(decorator) for decorator in node.decorator_list]


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a function's own body, without those of functions and classes inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, FunctionNode | ast.Lambda | ast.ClassDef):
            yield from _own_nodes(child)


def _yields(node: FunctionNode) -> bool:
    return any(isinstance(child, ast.Yield | ast.YieldFrom) for child in _own_nodes(node))


def _returns(node: FunctionNode) -> bool:
    return any(isinstance(child, ast.Return) and child.value is not None for child in _own_nodes(node))


def _hash(exercise: Exercise, tree: ast.Module, node: FunctionNode) -> str:
    """Hash of the function and of everything in the file that it needs, in the order of the file."""
    answers = {find_function(tree, other.qualname) for other in exercise.file.exercises}
    holders = {other.qualname.partition(".")[0] for other in exercise.file.exercises}
    others: list[ast.stmt] = []
    for statement in tree.body:
        inside = isinstance(statement, ast.ClassDef) and statement.name in holders
        others += statement.body if inside else [statement]
    others = [each for each in others if each not in answers and not _is_text(each)]
    needed, taken = _names(node), [node]
    while found := [each for each in others if each not in taken and _is_needed(each, needed)]:
        taken += found
        needed = needed.union(*map(_names, found))
    source = "\n".join(ast.unparse(each) for each in sorted(taken, key=operator.attrgetter("lineno")))
    return hashlib.sha256(source.encode(errors="replace")).hexdigest()[:16]


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_needed(statement: ast.stmt, needed: set[str]) -> bool:
    """Whether a statement makes one of the names, or makes none and so may do anything."""
    if isinstance(statement, FunctionNode | ast.ClassDef):
        made = {statement.name}
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        made = {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    else:
        made = {x.id for x in ast.walk(statement) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}
    return not made or "*" in made or bool(made & needed)


def _names(node: ast.AST) -> set[str]:
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return names | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}


def load(file: ExerciseFile, text: str) -> types.ModuleType | str:
    """Run a learner's Python file and return it as a module; whatever its top level raises comes out of here.

    CUDA is compiled where it is used: of a `.cu` file this is the text.
    """
    if file.is_cuda:
        return text
    path = str(exercise_path(file))
    module = types.ModuleType(f"exercises.{file.lesson.name}")
    module.__file__ = path
    sys.modules[module.__name__] = module
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    return module


class Swap:
    """Values of the engine that others stand in for: `put_in` and `take_out` change all of them, as often as one likes.

    Swaps that are put in one after the other come out in the reverse order; what each finds is what it gives back.
    """

    def __init__(self) -> None:
        self._values: list[tuple[Any, str, Any]] = []
        self._replaced: list[list[Any]] = []  # for each time that it was put in

    def add(self, holder: Any, name: str, value: Any) -> None:
        """Let `value` stand for `holder.name` (for a dict, `holder[name]`) whenever this is put in."""
        self._values.append((holder, name, value))

    def put_in(self) -> None:
        self._replaced.append([])
        for holder, name, value in self._values:
            self._replaced[-1].append(_entries(holder).get(name, _NOTHING))
            _set(holder, name, value)

    def take_out(self) -> None:
        """Give back what the last `put_in` found; without one this changes nothing."""
        old = self._replaced.pop() if self._replaced else []
        for (holder, name, _), value in reversed(list(zip(self._values, old, strict=False))):
            _set(holder, name, value)


_NOTHING = object()


def _entries(holder: Any) -> Mapping[str, Any]:
    return holder if isinstance(holder, dict) else vars(holder)


def _set(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder.pop(name, None) if value is _NOTHING else holder.update({name: value})
    else:
        delattr(holder, name) if value is _NOTHING else setattr(holder, name, value)


def install(loaded: types.ModuleType | str, file: ExerciseFile, use: Iterable[str]) -> Swap:
    """Put the learner's functions with the ids in `use` into the engine, and the engine's own into all other holes.

    `loaded` is what `load` gave. What a learner has added to a class (helper methods, constants) or to a `.cu` file
    goes along with the functions that it is for. What this returns takes everything out of the engine again; where
    putting in fails, nothing is left in.
    """
    swap = _cuda_swap(loaded, file, use) if isinstance(loaded, str) else _python_swap(loaded, file, use)
    swap.put_in()
    return swap


@contextmanager
def as_found(exercise: Exercise) -> Iterator[None]:
    """Have the engine call the broken function of an exercise as learners find it; at the end, its own again."""
    if exercise.broken is None:
        raise ValueError(f"exercise {exercise.id} has no broken function: it is yours to write")
    text = exercise_file(exercise.file)
    loaded: types.ModuleType | str = text
    if not exercise.is_cuda:  # not `load`: the learner's own file keeps its name and its lines
        loaded = types.ModuleType("as_found")
        exec(compile(text, f"{exercise.file.name} as found", "exec", dont_inherit=True), loaded.__dict__)
    swap = install(loaded, exercise.file, [exercise.id])
    try:
        yield
    finally:
        swap.take_out()


def _cuda_swap(text: str, file: ExerciseFile, use: Iterable[str]) -> Swap:
    from yaie.kernels import native

    def current(module: str) -> str:
        return native.replaced.get(module.removeprefix("csrc/")) or cuda_exercises.engine_text(module)

    swap = Swap()
    for name, new in cuda_exercises.spliced(file, exercise_path(file), text, use, current).items():
        swap.add(native.replaced, name, new)
    return swap


def _python_swap(module: types.ModuleType, file: ExerciseFile, use: Iterable[str]) -> Swap:
    use, swap = set(use), Swap()
    functions = {exercise.qualname for exercise in file.exercises}
    for exercise in file.exercises:
        holder_name, _, name = exercise.qualname.rpartition(".")
        engine = importlib.import_module(exercise.module)
        if not holder_name:
            if exercise.id in use:
                for holder, alias in _where_bound(getattr(engine, name)):
                    swap.add(holder, alias, vars(module)[name])
            else:
                setattr(module, name, getattr(engine, name))
            continue
        theirs, ours = (operator.attrgetter(holder_name)(where) for where in (module, engine))
        if exercise.id in use:
            added = {
                key: value
                for key, value in vars(theirs).items()
                if not key.startswith("__") and f"{holder_name}.{key}" not in functions
            }
            for key, value in {**added, name: vars(theirs)[name]}.items():
                swap.add(ours, key, value)
        elif name in vars(theirs):
            delattr(theirs, name)  # inherited from the engine's class again
    return swap


def owner(exercise: Exercise) -> str:
    """The file, without its folder, of the function that the engine would call now: whose function it is."""
    if exercise.is_cuda:
        from yaie.kernels import native

        text = native.replaced.get(exercise.module.removeprefix("csrc/"))
        return cuda_exercises.origin(exercise, text)
    *holders, name = exercise.qualname.split(".")
    holder = importlib.import_module(exercise.module)
    for each in holders:
        holder = getattr(holder, each)
    function = inspect.getattr_static(holder, name)
    function = getattr(function, "fget", None) or getattr(function, "__func__", function)
    return Path(inspect.unwrap(function).__code__.co_filename).name


def _where_bound(function: Any) -> list[tuple[Any, str]]:
    """Every module of the engine, and name in it, under which a module-level function is known."""
    return [
        (module, name)
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith(("yaie.", "exercises."))
        for name, value in list(vars(module).items())
        if value is function
    ]
