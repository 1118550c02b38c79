"""What a change of a function amounts to, in words that its statement has and without its lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cached_property

from yaie.course.changes import Change

MOST = 3  # things that a sentence names
# Calls of one argument, or methods, that everyone knows by name.
PLAIN = {
    "list": "no copy were made of {}",
    "copy": "no copy were made of {}",
    "clone": "no copy were made of {}",
    "int": "{} were not made whole numbers",
    "reversed": "{} were not reversed",
    "contiguous": "{} were passed on with gaps",
    "long": "{} were not converted",
    "to": "{} were not converted",
    "float": "{} were not converted",
    "double": "{} were not converted",
    "tolist": "{} were not made a list",
    "tensor": "a list were not made a tensor",
    "ceil": "{} were not rounded",
    "floor": "{} were not rounded",
    "clamp": "{} were not kept within bounds",
}
# Names that need no introduction.
EVERYONES = {"dim", "dtype", "keepdim", "device", "min", "max", "len", "int", "round", "ceil", "list", "sum"}
ARITHMETIC = {
    "+ -": "{right} were subtracted where it is to be added",
    "- +": "{right} were added where it is to be subtracted",
    "* //": "{left} were divided by {right} where it is to be multiplied",
    "/ *": "{left} were multiplied by {right} where it is to be divided",
    "// *": "{left} were multiplied by {right} where it is to be divided",
    "// /": "a division by {right} were not rounded down",
    "% //": "the quotient by {right} were taken, not the remainder",
    "* +": "{right} were added where it is to be multiplied",
}
REVERSED = {"< >", "<= >", "> <", ">= <"}
BOUND = {"< <=", "<= <", "> >=", ">= >"}


class Words:
    """The words for changes of one function, with the text `source`. Names that a learner knows are parameters, and
    those between backticks in the `statement`; other names of the function are told by what they come from."""

    def __init__(self, source: str, statement: str) -> None:
        self._function = ast.parse(source).body[0]
        quoted = " ".join(re.findall(r"`([^`\n]+)`", statement))
        self._known = set(re.findall(r"[A-Za-z_][\w.]*", quoted))
        self._known |= {each.arg for each in ast.walk(self._function.args) if isinstance(each, ast.arg)} - {"self"}
        self._found: dict[tuple[ast.AST | str, int], list[str]] = {}
        self._known -= {"None", "True", "False", "i", "self"}

    @cached_property
    def _origins(self) -> dict[str, ast.AST]:
        """What each local name comes from where it gets its value first."""
        found: dict[str, ast.AST] = {}
        for node in ast.walk(self._function):
            match node:
                case ast.Assign(targets=targets, value=value):
                    pairs = [(target, value) for target in targets]
                case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                    pairs = [(target, value)]
                case ast.NamedExpr(target=target, value=value):
                    pairs = [(target, value)]
                case _:
                    continue
            for target, value in pairs:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        found.setdefault(name.id, value)
        return found

    def _names(self, node: ast.AST, depth: int = 2) -> list[str]:
        """The names of a part of the function that a learner knows, in order."""
        key = node.id if isinstance(node, ast.Name) else node  # those of one name are the same everywhere
        if (key, depth) not in self._found:
            self._found[key, depth] = list(dict.fromkeys(self._look(node, depth)))
        return self._found[key, depth]

    def _look(self, node: ast.AST, depth: int) -> Iterator[str]:
        if isinstance(node, ast.Name | ast.Attribute):
            dotted = ast.unparse(node)
            if dotted in self._known:
                yield dotted
                return
            ends = [name for name in self._known if f".{dotted}".endswith(f".{name}")]  # `parent.children` of a node
            if isinstance(node, ast.Attribute) and ends and not dotted.startswith("self."):
                yield max(ends, key=len)
                return
        if isinstance(node, ast.Name) and depth and node.id in self._origins:
            yield from self._names(self._origins[node.id], depth - 1)
        for child in ast.iter_child_nodes(node):
            yield from self._names(child, depth)

    def names(self, *nodes: ast.AST) -> list[str]:
        return list(dict.fromkeys(name for node in nodes for name in self._names(node)))

    def _things(self, *nodes: ast.AST) -> str:
        """What some parts are about, as a list in words; empty where a learner knows none of it, or it is too much."""
        names = [f"`{name}`" for name in self.names(*nodes)]
        return _listed(names) if len(names) <= MOST else ""

    def _called(self, node: ast.AST) -> str:
        """The name of the function of a call, where a learner knows it."""
        if not isinstance(node, ast.Call):
            return ""
        dotted = ast.unparse(node.func)
        return dotted if dotted in self._known else ""

    def of(self, change: Change) -> str:
        """A sentence about what happens with this change; empty where there are no words for it."""
        said = getattr(self, "_" + change.kind.replace(" ", "_"))(change, *change.nodes)
        return f"It behaves as if {said}." if said else ""

    # ---- one for each kind of change: the clause behind "as if"

    def _operator(self, change: Change, left: ast.AST, right: ast.AST) -> str:
        both, one, other = self._things(left, right), self._things(left), self._things(right)
        if change.detail in BOUND:
            return both and f"a comparison of {both} were off by one"
        if change.detail in REVERSED:
            return both and f"a comparison of {both} were the wrong way round"
        if change.detail in ("and or", "& |"):
            return both and f"one of the conditions on {both} were enough, where all must hold"
        if change.detail in ("or and", "| &"):
            return both and f"all conditions on {both} had to hold, where one is enough"
        if isinstance(left.parent, ast.AugAssign) and change.detail in ("+ -", "- +"):
            things = self._changed(left)
            return things and f"{things} went {'down, not up' if change.detail == '+ -' else 'up, not down'}"
        if change.detail in ARITHMETIC:
            said = ARITHMETIC[change.detail]
            if ("{left}" in said and not one) or ("{right}" in said and not other):
                return both and f"another operation were used on {both}"
            return said.format(left=one, right=other)
        return both and f"a condition on {both} were the opposite"

    def _negated(self, change: Change, node: ast.AST) -> str:
        things = self._things(node)
        if isinstance(getattr(node, "parent", None), ast.keyword):
            return self._axis(node)
        return things and f"the condition on {things} were the opposite"

    def _axis(self, node: ast.AST) -> str:
        while not isinstance(node, ast.keyword):
            node = node.parent
        things = self._things(node.parent) if self._is_known(node.arg) else ""
        return things and f"another `{node.arg}` were used in what is done with {things}"

    def _is_known(self, name: str) -> bool:
        return name in self._known or name in EVERYONES

    def _number(self, change: Change, node: ast.AST) -> str:
        way = [node]
        while isinstance(way[-1].parent, ast.expr | ast.keyword | ast.Slice):
            way.append(way[-1].parent)
            if isinstance(way[-1], ast.keyword):
                return self._axis(node)
            if isinstance(way[-1], ast.Compare):
                things = self._things(way[-1])
                return things and f"a comparison of {things} were off by one"
            if things := self._things(way[-1]):
                if isinstance(way[-1], ast.Subscript) and not any(isinstance(each, ast.Slice) for each in way):
                    return f"another entry or axis of {things} were used"
                return f"{things} were off by one"
        statement = way[-1].parent
        if isinstance(statement, ast.Assign | ast.AugAssign):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            things = self._changed(target)
            return things and f"another number went into {things}"
        return ""

    def _dropped(self, change: Change, node: ast.AST) -> str:
        match node:
            case ast.Expr(value=ast.Call() as call):
                if name := self._called(call):
                    return f"`{name}` were not called"
                things = self._things(call)
                return things and f"a step on {things} were missing"
            case ast.Raise():
                return self._unraised(node.parent, node)
            case ast.Return():
                things = self._things(node.parent.test) if isinstance(node.parent, ast.If) else ""
                return f"it did not end in the case of {things}" if things else ""
            case ast.Assign(targets=[ast.Name()], value=value):
                if name := self._called(value):
                    return f"`{name}` were not called"
                things = self._things(value)
                return things and f"a step on {things} were missing"
            case ast.Assign(targets=[target, *_]) | ast.AugAssign(target=target):
                things = self._changed(target)
                return things and f"{things} did not change"
        return ""

    def _changed(self, target: ast.AST) -> str:
        """What an assignment changes: of `x[i]` it is `x`."""
        return self._things(target.value if isinstance(target, ast.Subscript) else target) or self._things(target)

    def _unraised(self, case: ast.AST, error: ast.Raise) -> str:
        raised = error.exc.func if isinstance(error.exc, ast.Call) else error.exc
        things = self._things(case.test) if isinstance(case, ast.If) else ""
        return things and f"no {ast.unparse(raised)} were raised because of {things}"

    def _jump(self, change: Change, node: ast.AST) -> str:
        things = self._things(node.parent.test) if isinstance(node.parent, ast.If) else ""
        end = "the loop went on where it is to end" if isinstance(node, ast.Break) else "the loop ended too soon"
        return things and f"{end}, in the case of {things}"

    def _extreme(self, change: Change, node: ast.Call) -> str:
        things, (old, new) = self._things(node), change.detail.split()
        return things and f"`{new}` were taken of {things} where it is to be `{old}`"

    def _swapped(self, change: Change, call: ast.Call, one: ast.AST, other: ast.AST) -> str:
        first, second, name = self._things(one), self._things(other), self._called(call)
        if first and second:
            return f"{first} and {second} changed places" + (f" in a call of `{name}`" if name else "")
        return name and f"two arguments changed places in a call of `{name}`"

    def _never(self, change: Change, node: ast.If | ast.IfExp | ast.While) -> str:
        if isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise):
            return self._unraised(node, node.body[0])
        things = self._things(node.test)
        if isinstance(node, ast.While):
            return things and f"the loop on {things} did not run"
        return things and f"{things} made no case of its own"

    def _always(self, change: Change, node: ast.If | ast.IfExp) -> str:
        things = self._things(node.test)
        return things and f"the condition on {things} always held"

    def _unasked(self, change: Change, node: ast.AST, *others: ast.AST) -> str:
        things = self._things(node, *others)
        return things and f"a condition on {things} were not looked at"

    def _left_out(self, change: Change, node: ast.AST) -> str:
        things, around = self._things(node), self._things(node.parent)
        if things and things != around:
            return f"{things} were left out"
        what = "a number" if isinstance(node, ast.Constant) else "a part of the operation"
        return around and f"{what} were left out, next to {around}"

    def _sign(self, change: Change, node: ast.UnaryOp) -> str:
        things = self._things(node)
        return things and f"the sign of {things} were another one"

    def _unapplied(self, change: Change, call: ast.Call, node: ast.AST) -> str:
        things, name = self._things(node), self._called(call)
        if name:
            return f"`{name}` were not called"
        plain = ast.unparse(call.func).rpartition(".")[2]
        if plain in PLAIN:
            return things and PLAIN[plain].format(things)
        return things and f"a step on {things} were left out"

    def _unbounded(self, change: Change, call: ast.Call, arg: ast.AST) -> str:
        things = self._things(call)
        return things and f"a bound of {things} were missing"

    def _no_keyword(self, change: Change, call: ast.Call, keyword: ast.keyword) -> str:
        things, name = self._things(call), self._called(call)
        where = f"in a call of `{name}`" if name else f"in what is done with {things}" if things else ""
        return where and self._is_known(keyword.arg) and f"no `{keyword.arg}` were given {where}"

    def _loop(self, change: Change, node: ast.AST) -> str:
        things = self._things(node)
        if not things:
            return ""
        if not change.detail:
            return f"the loop on {things} went from the end to the beginning"
        only, which = change.detail.startswith("only"), change.detail.removeprefix("only ")
        if ast.unparse(node) in self._known:
            return f"only the {which} of {things} counted" if only else f"the {which} of {things} were left out"
        return f"the loop on {things} had " + (f"its {which} round only" if only else f"no {which} round")

    def _cut(self, change: Change, node: ast.AST) -> str:
        things = self._things(node)
        return things and f"the {change.detail} of what comes from {things} were left out"

    def _uncut(self, change: Change, node: ast.AST, bound: ast.AST) -> str:
        things = self._things(node)
        return things and f"{things} were not cut at the {change.detail}"

    def _overwritten(self, change: Change, node: ast.AST) -> str:
        things = self._changed(node)
        return things and f"{things} were overwritten, not added to"

    def _at_least(self, change: Change, node: ast.AST) -> str:
        things = self._things(node)
        return things and f"a result from {things} were never less than {change.detail}"

    def _moved(self, change: Change, one: ast.stmt, other: ast.stmt) -> str:
        """Of several steps that came before `one` any may be what counts, so the last of them is not told alone."""
        first, second = self._step(one), self._step(other)
        if not first or not second or first == second:
            return ""
        body = next(each for each in (one.parent.body, getattr(one.parent, "orelse", [])) if one in each)
        passed = body[body.index(one) + 1 : body.index(other) + 1]
        if len(passed) == 1:
            return f"{second} came before {first}"
        steps = list(dict.fromkeys(filter(None, map(self._step, passed))))
        return f"{first} came too late" + (f", after {_listed(steps)}" if len(steps) <= MOST else "")

    def _step(self, node: ast.stmt) -> str:
        """What a statement does first: a call by its name, or a change of something."""
        for call in ast.walk(node):
            if name := self._called(call):
                return f"the `{name}`" if name.endswith("Error") else f"the call of `{name}`"
        if isinstance(node, ast.Assign | ast.AugAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            things = self._changed(target) if isinstance(target, ast.Attribute | ast.Subscript) else ""
            return things and f"the change of {things}"
        return ""

    def _shifted(self, change: Change, node: ast.AST) -> str:
        if isinstance(node.parent, ast.Compare):
            things = self._things(node.parent)
            return things and f"a comparison of {things} were off by one"
        things = self._things(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "len" and things:
            things = f"the length of {things}"
        return things and f"{things} were one too {'large' if change.detail == '+' else 'small'} in one place"

    def _taken_for(self, change: Change, old: ast.AST, new: ast.AST) -> str:
        one, other = self.names(old), self.names(ast.Name(new.id) if isinstance(new, ast.Name) else new)
        if change.new.decode() in self._known:
            other = [change.new.decode()]
        if len(one) == len(other) == 1 and one != other:
            return f"`{other[0]}` were used in a place of `{one[0]}`"
        argument = old
        while isinstance(argument.parent, ast.expr) and not isinstance(argument.parent, ast.Call):
            argument = argument.parent
        call = argument.parent.parent if isinstance(argument.parent, ast.keyword) else argument.parent
        if isinstance(call, ast.Call) and not self._called(call) and len(call.args) == 1:  # len(...)
            argument, call = call, call.parent.parent if isinstance(call.parent, ast.keyword) else call.parent
        if not self._called(call):
            return ""
        if isinstance(argument.parent, ast.keyword):
            said = f"`{argument.parent.arg}` were another one in the call of `{self._called(call)}`"
            return said if self._is_known(argument.parent.arg) else ""
        if argument not in call.args:
            return ""
        which = ("first", "second", "third", "fourth", "fifth", "sixth")[call.args.index(argument)]
        if other == [change.new.decode()] and argument is old:
            return f"the {which} argument of `{self._called(call)}` were `{other[0]}` itself"
        return f"the {which} argument of `{self._called(call)}` were another one"

    def _renamed(self, change: Change, old: ast.AST, new: ast.AST) -> str:
        one, other = (self.names(ast.Name(each.arg if isinstance(each, ast.arg) else each.id)) for each in (old, new))
        return f"`{other[0]}` were used for `{one[0]}`" if len(one) == len(other) == 1 and one != other else ""

    def _inside(self, change: Change, call: ast.Call, node: ast.AST) -> str:
        things, name = self._things(node), self._called(call) or ast.unparse(call.func).rpartition(".")[2]
        return things and self._is_known(name) and f"{things} came in before `{name}`, not after it"

    def _guarded(self, change: Change, call: ast.Call) -> str:
        name = self._called(call)
        return name and f"`{name}` were called in some cases only"


def _listed(things: list[str]) -> str:
    """As in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(things[:-1]), *things[-1:]]))
