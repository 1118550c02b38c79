"""Small changes of a Python file, one at a time: operators, bounds, constants, conditions, statements, arguments.

A test or a check that does not notice one has a hole, or the change changes nothing. Imports nothing of `yaie`.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from itertools import accumulate, pairwise

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
Change = tuple[int, int, bytes]  # from, to (in bytes, as `ast` counts columns), and what comes there


def changes(source: bytes) -> list[Change]:
    """All single changes of a file that still parse."""
    lines = [0, *accumulate(map(len, source.splitlines(keepends=True)))]

    def start(node: ast.AST) -> int:
        return lines[node.lineno - 1] + node.col_offset

    def end(node: ast.AST) -> int:
        return lines[node.end_lineno - 1] + node.end_col_offset

    def text(node: ast.AST) -> bytes:
        return source[start(node) : end(node)]

    def operators(*operands: ast.AST) -> Iterator[Change]:
        for left, right in pairwise(operands):
            old = OPERATOR.search(source, end(left), start(right))
            for new in OPERATORS[" ".join(old[0].decode().split())]:
                yield old.start(), old.end(), new.encode()

    def at(node: ast.AST) -> Iterator[Change | tuple[ast.AST, bytes]]:
        match node:
            case ast.Compare(left=left, comparators=others):
                yield from operators(left, *others)
            case ast.BinOp(left=left, right=right):
                yield from operators(left, right)
            case ast.BoolOp(values=values):
                yield from operators(*values)
            case ast.AugAssign(target=left, value=right):
                yield from operators(left, right)
                yield node, b"pass"
            case ast.UnaryOp(op=ast.Not()):
                yield node, text(node).replace(b"not", b"", 1)
            case ast.Constant(value=bool(value)):
                yield node, str(not value).encode()
            case ast.Constant(value=int() | float()):
                yield from ((node, b"(%b %b 1)" % (text(node), sign)) for sign in (b"+", b"-"))
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) | ast.comprehension(ifs=[test, *_]):
                yield test, b"(not (%b))" % text(test)
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring
            case ast.Expr() | ast.Raise() | ast.Delete() | ast.Return():
                yield node, b"pass"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
                yield node, b"pass"
            case ast.Break() | ast.Continue():
                yield node, b"continue" if isinstance(node, ast.Break) else b"break"
            case ast.Call(func=ast.Name(id=name)) if name in NAMES:
                yield node.func, NAMES[name].encode()
            case ast.Call(args=[one, other, *_]):
                yield start(one), end(other), text(other) + source[end(one) : start(other)] + text(one)

    def walk(node: ast.AST) -> Iterator[Change]:
        for where, *rest in at(node):
            yield (start(where), end(where), *rest) if isinstance(where, ast.AST) else (where, *rest)
        for name, field in ast.iter_fields(node):
            for child in field if isinstance(field, list) else [field]:
                # Annotations are never computed, and Python 3.11 does not know places inside an f-string.
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr) and name not in ANNOTATIONS:
                    yield from walk(child)

    return [change for change in walk(ast.parse(source)) if _parses(changed(source, change))]


def changed(source: bytes, change: Change) -> bytes:
    start, end, new = change
    return source[:start] + new + source[end:]


def _parses(source: bytes) -> bool:
    with contextlib.suppress(SyntaxError):
        return bool(compile(source, "changed", "exec", ast.PyCF_ONLY_AST))
    return False
