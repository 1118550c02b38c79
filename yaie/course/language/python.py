"""Exercises in Python: functions of `yaie/`, found with `ast`, written to a `.py` file, put in by assignment."""

from __future__ import annotations
import __future__

import ast
import difflib
import importlib
import inspect
import itertools
import linecache
import operator
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yaie.course.behaves import Words
from yaie.course.changes import changed, changes, line_of
from yaie.course.files import FileProblem, exercise_path
from yaie.course.language import engine_seam
from yaie.course.language.base import Language, Slip, Swap, Written, needed
from yaie.cuda.source import digest, split_top_level

if TYPE_CHECKING:
    from yaie.course.registry import Exercise, ExerciseFile

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Named = FunctionNode | ast.ClassDef
BINDING = ("staticmethod", "classmethod", "property")  # decorators that change how a method is called

# Kinds of changes: of those that come to the same, the first is told. Of the last ones there are many.
RANKS = (
    *("dropped", "never", "unasked", "left out", "operator", "number", "swapped", "overwritten", "extreme", "negated"),
    *("jump", "always", "uncut", "moved", "inside", "unapplied", "unbounded", "no keyword", "sign"),
    *("loop", "cut", "shifted", "taken for", "renamed", "guarded", "at least"),
)
MANY = RANKS.index("loop")
MOST_SLIPS = 600  # for more there is no time

FUTURE = "from __future__ import annotations"  # the first line of code of an exercise file


class Python(Language):
    suffix, comment, fence, ends_process, quick = ".py", "#", "python", "os._exit", True

    # --- the engine's function

    def reference(self, exercise: Exercise) -> str:
        node = _engines(exercise)
        first, last = _lines(node)
        lines = _module_source(exercise.module)[0].splitlines()[first - 1 : last]
        return "\n".join(line[node.col_offset :] for line in lines)

    def hole(self, exercise: Exercise) -> str:
        """Decorators and signature are the engine's, the docstring is the exercise's statement."""
        node = _engines(exercise)
        header = self.reference(exercise).splitlines()[: node.body[0].lineno - _lines(node)[0]]
        while header[-1].lstrip().startswith("#") or not header[-1].strip():  # remarks above the first line of the body
            header.pop()
        note = f'    raise NotImplementedError("exercise {exercise.id}: write this function")'
        return "\n".join([*header, *_docstring(exercise), note])

    def slips(self, exercise: Exercise) -> list[Slip]:
        """Two arguments of one type that changed places, one that may be left out and was not looked at, and each small
        change of the function, those with the most likely words first."""
        return _slips(self.reference(exercise), exercise.statement)

    def become(self, exercise: Exercise, source: str) -> None:
        function = self._now(exercise)
        scope = dict(function.__globals__)
        code = compile(source, "<changed>", "exec", dont_inherit=True, flags=__future__.annotations.compiler_flag)
        exec(code, scope)
        other = inspect.unwrap(scope[exercise.function])
        function.__code__, function.__defaults__ = other.__code__, other.__defaults__
        function.__kwdefaults__ = other.__kwdefaults__
        if forget := getattr(self._bound(exercise), "cache_clear", None):  # what the function before it has given
            forget()

    def code(self, answer: str) -> str:
        tree = ast.parse(answer)
        for node in tree.body:
            if isinstance(node, FunctionNode) and ast.get_docstring(node) is not None:
                del node.body[0]
        return ast.dump(tree)

    # --- the exercise file

    def with_answer(self, exercise: Exercise, text: str) -> str:
        node = find_function(ast.parse(text), exercise.function)
        if node is None:
            raise LookupError(f"there is no function `{exercise.function}` in the answer")
        lines, (first, last) = text.splitlines(), _lines(node)
        file = self.render(exercise.file, {exercise.id: "\n".join(lines[first - 1 : last])})
        # Imports of the answer come before those of the file, which override them.
        return file.replace(FUTURE, "\n".join([FUTURE, *lines[: first - 1], *lines[last:], ""]), 1)

    def sections(self, file: ExerciseFile, functions: Mapping[str, str]) -> Iterator[str]:
        yield FUTURE
        yield _imports(tuple((each.module, each.qualname, each.statement) for each in file.exercises))
        written: set[tuple[str, str]] = set()
        for exercise in file.exercises:
            home = (exercise.module, exercise.qualname.rpartition(".")[0])
            if not home[1]:
                yield f"\n{self._above(exercise)}\n{functions[exercise.id]}"
            elif home not in written:
                written.add(home)
                members = [x for x in file.exercises if (x.module, x.qualname.rpartition(".")[0]) == home]
                yield self._class(*home, [(x, functions[x.id]) for x in members])

    def _class(self, module: str, name: str, members: list[tuple[Exercise, str]]) -> str:
        lines = [f"\nclass {name}({module.rpartition('.')[2]}.{name}):"]
        lines.append(f'    """The engine\'s `{name}`. The methods below replace its own; all others are inherited."""')
        for exercise, source in members:
            text = f"\n{self._above(exercise)}\n{source}"
            lines += [f"    {line}" if line else "" for line in text.split("\n")]
        return "\n".join(lines)

    def _above(self, exercise: Exercise) -> str:
        """The comment above a function. A broken one keeps the engine's docstring, so its statement stands here."""
        statement = exercise.statement.split("\n") if exercise.broken else []
        return self.as_comment([*self.banner(exercise), *statement])

    # --- what a learner has written

    def locate(self, exercise: Exercise, text: str) -> Written:
        tree = self.parse(text, exercise.file.name, exercise.function)
        node = find_function(tree, exercise.qualname)
        if node is None:
            names = (each.name for each in ast.walk(tree) if isinstance(each, FunctionNode))
            raise self.missing(exercise, text, names, _elsewhere(exercise, tree))
        original = _engines(exercise)
        attempted = not (is_hole(node) or self.is_as_found(exercise, ast.unparse(node)))
        hash = _hash(exercise, tree, node) if attempted else ""
        remark = ""
        if attempted and not _has(node, ast.Return) and _has(original, ast.Return):
            remark = f"`{exercise.function}` has no `return` with a value, so it returns None."
        elif attempted and (unused := _unused(node, original)):
            remark = f"`{exercise.function}` never looks at its argument{'s' * (len(unused) > 1)} {', '.join(unused)}."
        return Written(attempted, hash, *_lines(node), remark, _uncallable(exercise, node, original))

    def parse(self, text: str, name: str, looking_for: str = "") -> ast.Module:
        self.check_text(name, text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # the check shows it when it runs the file
                return ast.parse(text, name)
        except SyntaxError as error:
            line = error.lineno or 1
            shown = f": `{error.text.strip()}`" if error.text and error.text.strip() else ""
            step = "Python cannot read any of the file until this line is right. Fix it and save."
            around = re.findall(r"^[ \t]*(?:async )?def (\w+)", "\n".join(text.split("\n")[:line]), re.MULTILINE)
            if looking_for and (not around or around[-1] != looking_for):
                place = f"It is in or below `{around[-1]}`" if around else "It is above all functions"
                step = f"{place}, not in `{looking_for}`. {step}"
            if isinstance(error, TabError):
                step = f"Indent with spaces only, four for each step. {step}"
            raise FileProblem(f"{name} has a syntax error in line {line}{shown} ({error.msg}).", step) from error
        except (RecursionError, MemoryError) as error:
            problem = f"{name} cannot be read as Python: something in it is nested too deep."
            raise FileProblem(problem, "Write it in smaller steps.") from error

    # --- into the engine

    def load(self, file: ExerciseFile, text: str, *, learners: bool = True) -> types.ModuleType:
        path = str(exercise_path(file)) if learners else f"{file.name} as found"
        module = types.ModuleType(f"exercises.{file.lesson.name}")
        module.__file__ = path
        if learners:
            sys.modules[module.__name__] = module
            linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
        return module

    def swap(self, file: ExerciseFile, loaded: types.ModuleType, use: Iterable[str]) -> Swap:
        use, swap = set(use), Swap()
        functions = {exercise.qualname for exercise in file.exercises}
        for exercise in file.exercises:
            holder_name, _, name = exercise.qualname.rpartition(".")
            engine = importlib.import_module(exercise.module)
            if not holder_name:
                if exercise.id in use:
                    for holder, alias in _where_bound(getattr(engine, name)):
                        swap.add(holder, alias, vars(loaded)[name])
                else:
                    setattr(loaded, name, getattr(engine, name))
                continue
            theirs, ours = (operator.attrgetter(holder_name)(where) for where in (loaded, engine))
            if exercise.id in use:
                mine = {key: value for key, value in vars(theirs).items() if not key.startswith("__")}
                added = {key: value for key, value in mine.items() if f"{holder_name}.{key}" not in functions}
                for key, value in {**added, name: vars(theirs)[name]}.items():
                    swap.add(ours, key, value)
            elif name in vars(theirs):
                delattr(theirs, name)  # inherited from the engine's class again
        used = [exercise for exercise in file.exercises if exercise.id in use]
        if any(exercise.module.startswith("yaie.kernels.") for exercise in used):
            engine_seam.use_readable_twins(swap)
        if rungs := engine_seam.rungs_that_call({exercise.qualname for exercise in used}):
            engine_seam.add_rungs(swap, rungs)
        return swap

    # --- in a check

    def get_ready(self, exercise: Exercise) -> None:
        _engines(exercise)
        engine_seam.get_ready()

    def watch(self, exercise: Exercise, saw: Callable[[str, dict[str, Any]], None]) -> None:
        """With what a learner reads of: lengths, and attributes that the engine's function and the statement name."""
        code, read = self._now(exercise).__code__, set(re.findall(r"\w+", exercise.statement))
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        dotted = {
            (node.value.id, node.attr)
            for node in ast.walk(_engines(exercise))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in read
        }

        def entered(frame: types.FrameType, *_: Any) -> None:
            if frame.f_code is not code:
                return
            told = {name: frame.f_locals[name] for name in names}
            for name, value in list(told.items()):
                told |= {f"len({name})": len(value)} if isinstance(value, list | tuple | np.ndarray) else {}
            for name, attribute in sorted(each for each in dotted if each[0] in names):
                told[f"{name}.{attribute}"] = getattr(told[name], attribute, None)
            saw(exercise.function, told)

        sys.settrace(entered)

    def owner(self, exercise: Exercise) -> str:
        return Path(self._now(exercise).__code__.co_filename).name

    def _now(self, exercise: Exercise) -> types.FunctionType:
        """The function that the engine would call now."""
        function = self._bound(exercise)
        return inspect.unwrap(getattr(function, "fget", function))

    def _bound(self, exercise: Exercise) -> Any:
        """What its name stands for in the engine."""
        return operator.attrgetter(exercise.qualname)(importlib.import_module(exercise.module))


PYTHON = Python()


# --- the engine's source


@lru_cache(maxsize=8)  # an exercise is checked again and again
def _slips(source: str, statement: str) -> list[Slip]:
    node = ast.parse(source).body[0]
    first = node.body[ast.get_docstring(node) is not None].lineno - 1
    kinds = {each.arg: ast.unparse(each.annotation) for each in node.args.args if each.annotation is not None}
    lines, found = source.split("\n"), []

    def add(line: str, said: str) -> None:
        body = "\n".join([*lines[:first], f"    {line}", *lines[first:]])
        found.append(Slip(body, f"The results are those that come out when {said}"))

    for one, other in itertools.combinations(kinds, 2):
        if kinds[one] == kinds[other]:
            add(f"{one}, {other} = {other}, {one}", f"`{one}` and `{other}` are exchanged.")
    for name, default in _defaults(node).items():
        add(f"{name} = {default}", f"`{name}` is always {default}, whatever is given.")
    words, encoded = Words(source, statement), source.encode()
    for change in changes(encoded, wide=True):
        rank = RANKS.index(change.kind)
        if (said := words.of(change)) or rank < MANY:
            found.append(Slip(changed(encoded, change).decode(), said, rank, line_of(change), rank >= MANY))
    return sorted(found, key=lambda slip: slip.rank)[:MOST_SLIPS]


@cache
def _module_source(module: str) -> tuple[str, ast.Module]:
    source = inspect.getsource(importlib.import_module(module))
    return source, ast.parse(source)


def _engines(exercise: Exercise) -> FunctionNode:
    node = find_function(_module_source(exercise.module)[1], exercise.qualname)
    if node is None:
        raise LookupError(f"exercise {exercise.id}: {exercise.module} has no function {exercise.qualname}")
    return node


def find_function(tree: ast.Module, qualname: str) -> FunctionNode | None:
    """The definition of `qualname` ("function" or "Class.method") in a parsed file."""
    found: Any = tree
    for name in qualname.split("."):
        named = [each for each in found.body if isinstance(each, Named) and each.name == name]
        if not named:
            return None
        found = named[-1]
    return found if isinstance(found, FunctionNode) else None


def is_hole(node: FunctionNode) -> bool:
    """True while the body is what the generator left: a docstring and `raise NotImplementedError`."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return len(body) == 1 and re.match(r"raise NotImplementedError\b", ast.unparse(body[0])) is not None


def _lines(node: FunctionNode) -> tuple[int, int]:
    """The first and the last line (from 1) of a function, its decorators included."""
    return min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno or node.lineno


def _docstring(exercise: Exercise) -> list[str]:
    """The statement as the docstring of a function, four columns in; the function may be a method."""
    quotes = 'r"""' if "\\" in exercise.statement else '"""'
    return [f"    {line}".rstrip() for line in f'{quotes}{exercise.statement}\n"""'.split("\n")]


@cache  # a failing check writes the exercise file once for each known mistake
def _imports(functions: tuple[tuple[str, str, str], ...]) -> str:
    """Import lines for the names that functions, each (module, qualified name, statement), use from their module: those
    in the reference and, as a learner reads of them there, those between backticks in the statement."""
    own = {"annotations", *(qualname.partition(".")[0] for _, qualname, _ in functions)}
    wanted: set[tuple[str, str]] = set()  # from where ("" for a module itself), and what
    for module, qualname, statement in functions:
        tree = _module_source(module)[1]
        if "." in qualname:
            package, _, name = module.rpartition(".")
            wanted.add((package, name))
        quoted = " ".join(re.findall(r"`([^`\n]+)`", statement))
        function = find_function(tree, qualname)
        used = {*re.findall(r"(?<![.\w/\"])[A-Za-z_]\w*", quoted), *_names(function, attributes=False)}
        used -= {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}  # not what is named alike
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                source = getattr(node, "module", None) or ""
                made = {
                    each.asname or (each.name if source else each.name.partition(".")[0]): each for each in node.names
                }
                wanted |= {(source, ast.unparse(made[name])) for name in made.keys() & (used - own)}
            else:
                wanted |= {(module, name) for name in _part(node).defines & (used - own)}
    groups: list[list[str]] = [[], [], []]  # Python's own, others', ours
    for source, several in itertools.groupby(sorted(wanted), operator.itemgetter(0)):
        names = [what for _, what in several]
        for line in [f"from {source} import {', '.join(names)}"] if source else [f"import {name}" for name in names]:
            top = re.split(r"[ .]", line)[1]
            groups[0 if top in sys.stdlib_module_names else 1 + (top == "yaie")].append(line)
    return "\n\n".join("\n".join(group) for group in groups if group)


# --- what a learner has written


def _elsewhere(exercise: Exercise, tree: ast.Module) -> str:
    """That the class is missing, or that the function stands in another place; empty where neither is so."""
    class_name = exercise.qualname.rpartition(".")[0]
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    if class_name and class_name not in classes:
        close = difflib.get_close_matches(class_name, classes, n=1, cutoff=0.5)
        return f" It has no class `{class_name}`" + (f", but `{close[0]}`: was the class renamed?" if close else ".")
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode) and node.name == exercise.function:
            return f" Line {node.lineno} has a `{node.name}` in another place: check its indentation."
    return ""


def _uncallable(exercise: Exercise, node: FunctionNode, original: FunctionNode) -> FileProblem | None:
    """How parameters, decorators or the kind of function differ from the engine's."""
    place = f"`{exercise.qualname}` in line {node.lineno} of {exercise.file.name}"
    wanted, found = _parameters(original), _parameters(node)
    extra = found[len(wanted) :]  # parameters of one's own are fine where the engine need not know of them
    if found[: len(wanted)] != wanted or not all("=" in parameter for parameter in extra):
        problem = f"{place} takes ({', '.join(found)}); the engine calls it with ({', '.join(wanted)})."
        return FileProblem(problem, "Restore its parameters: other parts of the engine rely on them.")
    wanted, found = (list(map(ast.unparse, each.decorator_list)) for each in (original, node))
    missing = [f"`@{name}`" for name in wanted if name not in found]
    added = [f"`@{name}`" for name in found if name not in wanted and name in BINDING]
    if missing or added:
        change = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(added)}"
        return FileProblem(f"{place} {change}, unlike the engine's.", "Put the lines above `def` back.")
    wrong, right = ("async def" if isinstance(each, ast.AsyncFunctionDef) else "def" for each in (node, original))
    if wrong != right:
        return FileProblem(f"{place} is defined with `{wrong}`; the engine's with `{right}`.", f"Write `{right}`.")
    if _has(node, ast.Yield | ast.YieldFrom) and not _has(original, ast.Yield | ast.YieldFrom):
        problem = f"{place} contains `yield`, which makes it a generator: calling it runs nothing yet."
        return FileProblem(problem, "Return the result with `return`.")
    return None


def _parameters(node: FunctionNode) -> list[str]:
    """Names with defaults, and the marks / and *, without annotations: [self, tokens, *, page_size=1]."""

    def bare(value: Any) -> Any:
        return [bare(each) for each in value] if isinstance(value, list) else value and ast.arg(value.arg)

    names = {kind: bare(getattr(node.args, kind)) for kind in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg")}
    spec = ast.arguments(**names, kw_defaults=node.args.kw_defaults, defaults=node.args.defaults)
    return [parameter.strip() for parameter in split_top_level(ast.unparse(spec)) if parameter]


def _defaults(node: FunctionNode) -> dict[str, str]:
    """What each parameter is that may be left out."""
    count = len(node.args.defaults)
    names = [each.arg for each in node.args.args][-count:] if count else []
    return {name: ast.unparse(default) for name, default in zip(names, node.args.defaults, strict=True)}


def _unused(node: FunctionNode, original: FunctionNode) -> list[str]:
    """Parameters that a function does not mention and the engine's does. `locals()` may do so by other means."""
    used, needed = (_names(each, attributes=False) for each in (node, original))
    names = [each.arg for each in (*original.args.args, *original.args.kwonlyargs)]
    return [] if "locals" in used else [f"`{name}`" for name in names if name in needed - used]


def _has(node: ast.AST, kind: Any) -> bool:
    """Whether a function has such a statement or expression, outside of functions and classes inside it; a `return`
    only counts with a value."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, kind) and (not isinstance(child, ast.Return) or child.value is not None):
            return True
        if not isinstance(child, FunctionNode | ast.Lambda | ast.ClassDef) and _has(child, kind):
            return True
    return False


@dataclass(frozen=True)
class Part:
    """A statement of a file: the names that it makes (none: it may do anything), and those in it."""

    node: ast.stmt
    defines: Set[str]
    uses: Set[str]


def _part(node: ast.stmt) -> Part:
    if isinstance(node, Named):
        made = {node.name}
    elif isinstance(node, ast.Import | ast.ImportFrom):
        made = {(alias.asname or alias.name).partition(".")[0] for alias in node.names} - {"*"}
    else:
        made = {x.id for x in ast.walk(node) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}
    return Part(node, made, _names(node))


def _hash(exercise: Exercise, tree: ast.Module, node: FunctionNode) -> str:
    """Hash of the function and of everything in the file that it needs, in the order of the file."""
    answers = {find_function(tree, other.qualname) for other in exercise.file.exercises}
    holders = {other.qualname.partition(".")[0] for other in exercise.file.exercises}
    others: list[ast.stmt] = []
    for statement in tree.body:
        inside = isinstance(statement, ast.ClassDef) and statement.name in holders
        others += statement.body if inside else [statement]
    texts = {each for each in others if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)}
    parts = needed([_part(each) for each in others if each not in answers | texts], _names(node))
    kept = sorted([node, *(part.node for part in parts)], key=operator.attrgetter("lineno"))
    return digest(*map(ast.unparse, kept))


def _names(node: ast.AST, *, attributes: bool = True) -> set[str]:
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return names | {child.attr for child in ast.walk(node) if attributes and isinstance(child, ast.Attribute)}


def _where_bound(function: Any) -> list[tuple[Any, Any]]:
    """Where a module-level function is known: modules of the engine and dicts in them, each with its name there."""
    found = []
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith(("yaie.", "exercises.")):
            tables = [value for value in list(vars(module).values()) if type(value) is dict]
            for holder, names in [(module, vars(module)), *((table, table) for table in tables)]:
                found += [(holder, name) for name, value in list(names.items()) if value is function]
    return found
