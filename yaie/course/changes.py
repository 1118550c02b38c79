"""Small changes of a Python file, one at a time: operators, bounds, constants, conditions, statements, arguments.

A test or a check that does not notice one has a hole, or the change changes nothing. And an answer with the same
results as a change was perhaps written so: `behaves` says in words what a change amounts to. Imports nothing of `yaie`.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise, permutations
from typing import NamedTuple

# fmt: off
OPERATORS = {
    "<": ("<=", ">"), "<=": ("<", ">"), ">": (">=", "<"), ">=": (">", "<"), "==": ("!=",), "!=": ("==",),
    "is": ("is not",), "is not": ("is",), "in": ("not in",), "not in": ("in",), "and": ("or",), "or": ("and",),
    "+": ("-",), "-": ("+",), "*": ("+", "//"), "/": ("*",), "//": ("*", "/"), "%": ("//",), "**": ("*",),
    "<<": (">>",), ">>": ("<<",), "&": ("|",), "|": ("&",), "^": ("&",), "@": ("+",),
}
# fmt: on
OPERATOR = re.compile(rb"not\s+in\b|is\s+not\b|\b(?:is|in|and|or)\b|[<>=!]=|\*\*|//|<<|>>|[-<>+*/%&|^@]")
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
ANNOTATIONS = ("annotation", "returns")


class Change(NamedTuple):
    """From, to (in bytes, as `ast` counts columns), and what comes there; of which kind it is, and what it is about.

    The nodes have the one that they are in as `parent`.
    """

    start: int
    end: int
    new: bytes
    kind: str = ""
    nodes: tuple[ast.AST, ...] = ()
    detail: str = ""  # operators: the old one and the new one


def changes(source: bytes, *, wide: bool = False) -> list[Change]:
    """All single changes of a file that still parse. With `wide` also those that a test need not notice one by one,
    because there are so many of them: what learners leave out, put in other places and take for each other. Of these a
    few do not parse."""
    lines = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            child.parent = node

    def start(node: ast.AST) -> int:
        return lines[node.lineno - 1] + node.col_offset

    def end(node: ast.AST) -> int:
        return lines[node.end_lineno - 1] + node.end_col_offset

    def text(node: ast.AST) -> bytes:
        return source[start(node) : end(node)]

    def put(node: ast.AST, new: bytes, kind: str, *about: ast.AST, detail: str = "") -> Change:
        return Change(start(node), end(node), new, kind, about or (node,), detail)

    def operators(*operands: ast.AST) -> Iterator[Change]:
        for left, right in pairwise(operands):
            old = OPERATOR.search(source, end(left), start(right))
            name = " ".join(old[0].decode().split())
            for new in OPERATORS[name]:
                yield Change(old.start(), old.end(), new.encode(), "operator", (left, right), f"{name} {new}")

    def at(node: ast.AST) -> Iterator[Change]:
        match node:
            case ast.Compare(left=left, comparators=others):
                yield from operators(left, *others)
            case ast.BinOp(left=left, right=right):
                yield from operators(left, right)
            case ast.BoolOp(values=values):
                yield from operators(*values)
            case ast.AugAssign(target=left, value=right):
                yield from operators(left, right)
                yield put(node, b"pass", "dropped")
            case ast.UnaryOp(op=ast.Not()):
                yield put(node, text(node).replace(b"not", b"", 1), "negated", node.operand)
            case ast.Constant(value=bool(value)):
                yield put(node, str(not value).encode(), "negated")
            case ast.Constant(value=int() | float()):
                for sign in (b"+", b"-"):
                    yield put(node, b"(%b %b 1)" % (text(node), sign), "number", detail=sign.decode())
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.comprehension(ifs=[test, *_]):
                yield put(test, b"(not (%b))" % text(test), "negated")
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring
            case ast.Expr() | ast.Raise() | ast.Delete() | ast.Return():
                yield put(node, b"pass", "dropped")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
                yield put(node, b"pass", "dropped")
            case ast.Break() | ast.Continue():
                yield put(node, b"continue" if isinstance(node, ast.Break) else b"break", "jump")
            case ast.Call(func=ast.Name(id=name)) if name in NAMES:
                yield put(node.func, NAMES[name].encode(), "extreme", node, detail=f"{name} {NAMES[name]}")
            case ast.Call(args=[one, other, *_]):
                new = text(other) + source[end(one) : start(other)] + text(one)
                yield Change(start(one), end(other), new, "swapped", (node, one, other))

    def more(node: ast.AST) -> Iterator[Change]:
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            yield put(node.test, b"False", "never", node)
            if not isinstance(node, ast.While):
                yield put(node.test, b"True", "always", node)
        if isinstance(node, ast.BoolOp):
            for index, value in enumerate(node.values):
                rest = [text(other) for other in node.values if other is not value]
                between = b" and " if isinstance(node.op, ast.And) else b" or "
                yield put(node, b"(%b)" % between.join(rest), "unasked", node.values[index])
        if isinstance(node, ast.Compare) and len(node.ops) > 1:
            yield Change(start(node.left), start(node.comparators[0]), b"", "unasked", (node.left, node.comparators[0]))
            yield Change(end(node.comparators[-2]), end(node.comparators[-1]), b"", "unasked", node.comparators[-2:])
        if isinstance(node, ast.BinOp):
            yield put(node, b"(%b)" % text(node.left), "left out", node.right)
            yield put(node, b"(%b)" % text(node.right), "left out", node.left)
            if isinstance(node.left, ast.Call) and node.left.args:
                inside, last = node.left, node.left.args[-1]
                new = (
                    source[start(inside) : end(last)]
                    + source[end(inside) : end(node)]
                    + source[end(last) : end(inside)]
                )
                yield put(node, new, "inside", inside, node.right)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
            yield put(node, b"(%b)" % text(node.operand), "sign")
        if isinstance(node, ast.Call):
            if len(node.args) == 1 and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
                yield put(node, b"(%b)" % text(node.args[0]), "unapplied", node, node.args[0])
            if isinstance(node.func, ast.Attribute):
                yield put(node, b"(%b)" % text(node.func.value), "unapplied", node, node.func.value)
            if isinstance(node.func, ast.Name) and node.func.id in NAMES and len(node.args) > 1:
                for arg in node.args:
                    rest = [each for each in node.args if each is not arg]
                    yield put(node, b"(%b)" % text(rest[0]), "unbounded", node, arg)
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            for arg, other in permutations(given, 2):
                if not isinstance(other, ast.Name | ast.Constant | ast.Starred):
                    yield put(arg, text(other), "taken for", arg, other)
            for arg in given:
                if isinstance(arg, ast.Name):
                    for new in (b"list(_)[:1]", b"list(_)[:-1]"):
                        yield put(arg, new.replace(b"_", text(arg)), "loop", arg, detail=LOOPS[new])
            for keyword in node.keywords:
                if keyword.arg and (others := [*node.args, *(each for each in node.keywords if each is not keyword)]):
                    new = b"%b(%b)" % (text(node.func), b", ".join(map(text, others)))
                    yield put(node, new, "no keyword", node, keyword)
        if isinstance(node, ast.For | ast.comprehension):
            each = text(node.iter)
            for new, said in LOOPS.items():
                yield put(node.iter, new.replace(b"_", each), "loop", node.iter, detail=said)
        if isinstance(node, ast.comprehension):
            for before, test in pairwise([node.iter, *node.ifs]):
                yield Change(end(before), end(test), b"", "unasked", (test,))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            for value in sorted(value for value in values if made(value) < node.lineno):
                yield put(node, b"if %b: %b" % (value, text(node)), "guarded", node.value)
        if isinstance(node, ast.Slice) and isinstance(node.parent, ast.Subscript):
            for bound, new, which in ((node.lower, b"1%b", "first"), (node.upper, b"%b-1", "last")):
                if bound is None and node.step is None:
                    yield put(node, new % text(node), "cut", node.parent.value, detail=which)
        if isinstance(node, ast.Slice):
            for bound in filter(None, (node.lower, node.upper)):
                side = "beginning" if bound is node.lower else "end"
                whole = node.parent if isinstance(node.parent, ast.Subscript) else node.parent.parent
                yield put(bound, b"", "uncut", whole.value, bound, detail=side)
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
            yield put(node, b"%b = %b" % (text(node.target), text(node.value)), "overwritten", node.target)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield put(node, b"pass", "dropped")
        if isinstance(node, ast.Return | ast.Assign) and isinstance(node.value, ast.BinOp | ast.Name):
            yield put(node.value, b"max(1, %b)" % text(node.value), "at least", node.value, detail="1")
            yield put(node.value, b"max(0, %b)" % text(node.value), "at least", node.value, detail="0")
        for body in (getattr(node, name, []) for name in ("body", "orelse")):
            for place, one in enumerate(body if isinstance(body, list) else []):
                if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                    continue  # a docstring
                for before, other in pairwise(body[place:]):
                    if is_needed(one, other):
                        break
                    new = source[start(body[place + 1]) : end(other)] + source[end(before) : start(other)] + text(one)
                    yield Change(start(one), end(other), new, "moved", (one, other))
        places = ast.Call | ast.Compare | ast.Subscript | ast.Slice | ast.BinOp
        if isinstance(node, ast.Name | ast.Attribute | ast.Call) and is_read(node) and isinstance(node.parent, places):
            for sign in (b"+", b"-"):
                yield put(node, b"(%b %b 1)" % (text(node), sign), "shifted", detail=sign.decode())
        if isinstance(node, ast.Name | ast.Attribute) and is_read(node):
            for new in sorted(values - {text(node)}):
                if made(new) <= node.lineno:
                    yield put(node, new, "taken for", node, value_nodes[new])

    def renamed(node: ast.AST) -> Iterator[Change]:
        """From a statement on, one name for another: the value of several places at once."""
        for statement in getattr(node, "body", []) if isinstance(node, ast.FunctionDef) else []:
            before = {each for each in names if names[each].lineno < statement.lineno}
            for old, new in permutations(sorted(before), 2):
                line = b"%b = %b\n%b" % (old, new, b" " * statement.col_offset)
                yield Change(start(statement), start(statement), line, "renamed", (names[old], names[new]))

    def is_needed(one: ast.stmt, other: ast.stmt) -> bool:
        """Whether `other` reads a name to which `one` gives its value: after a move there is none."""
        stored = {each.id for each in ast.walk(one) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        return any(isinstance(each, ast.Name) and each.id in stored for each in ast.walk(other))

    def is_read(node: ast.AST) -> bool:
        called = isinstance(node.parent, ast.Call) and node.parent.func is node
        inner = isinstance(node.parent, ast.Attribute)  # x of x.y
        return not called and not inner and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)

    def made(value: bytes) -> int:
        """The line in which a name, or the first one in `a.b`, gets its value first; 0 for `self`."""
        root = names.get(value.partition(b".")[0])
        return root.lineno if root else 0

    value_nodes: dict[bytes, ast.AST] = {}
    for each in ast.walk(tree) if wide else ():
        if isinstance(each, ast.arg) or (isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)):
            value_nodes.setdefault((each.id if isinstance(each, ast.Name) else each.arg).encode(), each)
    names = {name: node for name, node in value_nodes.items() if name != b"self"}
    for each in ast.walk(tree) if wide else ():
        if isinstance(each, ast.Attribute) and is_read(each) and text(each).partition(b".")[0] in value_nodes:
            value_nodes.setdefault(text(each), each)
    values = value_nodes.keys() - {b"self"}

    def walk(node: ast.AST, kinds: Callable[[ast.AST], Iterator[Change]]) -> Iterator[Change]:
        yield from kinds(node)
        for name, field in ast.iter_fields(node):
            for child in field if isinstance(field, list) else [field]:
                # Annotations are never computed, and Python 3.11 does not know places inside an f-string.
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr) and name not in ANNOTATIONS:
                    yield from walk(child, kinds)

    found = [change for change in walk(tree, at) if _parses(changed(source, change))]
    return [*found, *walk(tree, more), *walk(tree, renamed)] if wide else found


def line_of(change: Change) -> int:
    """The line of the statement that a change is in."""
    node = change.nodes[0]
    while not isinstance(node, ast.stmt | ast.comprehension | ast.arg):
        node = node.parent
    return getattr(node, "lineno", 0) or node.target.lineno


# What a loop goes through instead of `_`, and what that amounts to.
LOOPS = {
    b"list(_)[1:]": "first",
    b"list(_)[:-1]": "last",
    b"list(_)[:1]": "only first",
    b"list(_)[-1:]": "only last",
    b"list(_)[::-1]": "",
}


def changed(source: bytes, change: Change) -> bytes:
    start, end, new, *_ = change
    return source[:start] + new + source[end:]


def _parses(source: bytes) -> bool:
    with contextlib.suppress(SyntaxError):
        return bool(compile(source, "changed", "exec", ast.PyCF_ONLY_AST))
    return False
