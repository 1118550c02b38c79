"""Pictures of a radix tree: what each edge holds, who uses it, what is locked, and how it grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from yaie.plots.svg import (
    BASE,
    BLUE,
    GREEN,
    INK,
    MARGIN,
    MAX_WIDTH,
    MUTED,
    PALE,
    RULE,
    SMALL,
    VERMILLION,
    YELLOW,
    Figure,
    Key,
    draw_legend,
    filmstrip,
    fit,
    legend_height,
    plural,
    printable,
    require,
    text_width,
    tint,
    titled,
)

Tokens = Sequence[int | str] | str


@dataclass(frozen=True)
class TreeNode:
    """A node with the edge that leads to it.

    label: the tokens on the edge: token ids, token texts, or one string (each character then counts as a token).
    note: one line about the payload, such as "a, b" (requests) or "slots 4-7".
    locks, last_used: shown where they are not None; a node with locks > 0 is drawn as locked.
    children: nodes below, drawn from top to bottom in this order.
    The root has an empty label.
    """

    label: Tokens = ()
    note: str = ""
    locks: int | None = None
    last_used: int | None = None
    children: Sequence["TreeNode"] = ()


class _Placed(NamedTuple):
    node: TreeNode
    name: str  # "" for the root, then "2.1" for the first child of the second child
    depth: int
    row: int  # twice the row, so that a parent between two children still has a whole number
    prefix: tuple[int | str, ...]  # all tokens from the root to this node


def radix_tree(
    tree: TreeNode, *, highlight: Tokens | None = None, title: str = "Radix tree", marks: dict[str, str] | None = None
) -> Figure:
    """The tree from left (root) to right, one row per leaf.

    highlight: a token sequence; the path that matches it is drawn thick; where the match ends inside an edge, the
    edge is dashed and says how many of its tokens match.
    marks: a word to write at a node, by its name ("1" is the root's first child, "1.2" that child's second).
    """
    require(isinstance(tree, TreeNode), f"radix_tree: tree is a {type(tree).__name__}; expected a TreeNode")
    placed = _place(tree)
    matched = _match(placed, highlight) if highlight is not None else {}
    remarks = _remarks(placed, matched, marks or {})
    sketch = _Sketch(placed, remarks, query=highlight is not None)
    figure, top = titled(title, sketch.width, sketch.height, _alt(placed, matched, highlight, marks or {}))
    sketch.draw(figure, top, matched, marks or {})
    return figure


def tree_from_graph(graph: Mapping[str, Any]) -> TreeNode:
    """The dict of `RadixTree.get_shared_computation_graph()` as a `TreeNode`.

    Reads `nodes` (dicts with `id`, `tokens`, `request_ids`, parents first) and `edges` (parent id, child id). A node
    may also have `note`, `locks` and `last_used`; without a note, the requests are the note (except at the root).
    """
    for key in ("nodes", "edges"):
        require(key in graph, f"tree_from_graph: graph has no {key!r}; its keys are {', '.join(graph)}")
    below: dict[Any, list[Any]] = {}
    for parent, child in graph["edges"]:
        below.setdefault(parent, []).append(child)
    nodes = {node["id"]: node for node in graph["nodes"]}
    children = {child for group in below.values() for child in group}
    roots = [i for i in nodes if i not in children]
    require(len(roots) == 1, f"tree_from_graph: graph has {len(roots)} nodes without a parent; expected one root")

    def build(i: Any) -> TreeNode:
        node = nodes[i]
        requests = ", ".join(map(str, node.get("request_ids", ()))) if i != roots[0] else ""
        kept = tuple(build(child) for child in below.get(i, ()))
        return TreeNode(
            tuple(node["tokens"]), node.get("note", requests), node.get("locks"), node.get("last_used"), kept
        )

    return build(roots[0])


def tree_from_cache(root: Any) -> TreeNode:
    """A tree of the prefix cache, by its root, as a `TreeNode` with pages, locks and the time of the last use.

    Reads `edge`, `children` and `payload` (`pages`, `lock_count`, `last_used`) of each node.
    """
    children = tuple(tree_from_cache(child) for child in root.children.values())
    if not len(root.edge):
        return TreeNode(children=children)
    pages = [int(page) for page in root.payload.pages]
    note = f"page {pages[0]}" if len(pages) == 1 else f"pages {pages[0]}-{pages[-1]}"
    if pages != list(range(pages[0], pages[0] + len(pages))):
        note = f"{len(pages)} pages"
    label = tuple(int(token) for token in root.edge)
    return TreeNode(label, note, root.payload.lock_count, root.payload.last_used, children)


def tree_filmstrip(
    trees: Sequence[TreeNode], captions: Sequence[str], *, title: str = "", columns: int | None = None
) -> Figure:
    """The same tree after each step, with "new" at nodes that a step added and "split" at edges that it cut."""
    pictures, before = [], None
    for tree in trees:
        marks = _changes(before, tree) if before is not None else {}
        pictures.append(radix_tree(tree, title="", marks=marks))
        before = tree
    return filmstrip(pictures, captions, title=title, columns=columns)


def _place(tree: TreeNode) -> list[_Placed]:
    """Every node with its place, parents before children."""
    placed: list[_Placed] = []
    next_leaf = 0

    def visit(node: TreeNode, name: str, depth: int, prefix: tuple[int | str, ...]) -> int:
        nonlocal next_leaf
        index = len(placed)
        prefix += tuple(node.label)
        placed.append(_Placed(node, name, depth, 0, prefix))
        rows = [
            visit(child, f"{name}.{i}" if name else str(i), depth + 1, prefix)
            for i, child in enumerate(node.children, 1)
        ]
        if not rows:
            rows = [2 * next_leaf]
            next_leaf += 1
        row = (rows[0] + rows[-1]) // 2
        placed[index] = placed[index]._replace(row=row)
        return row

    visit(tree, "", 0, ())
    return placed


def _match(placed: Sequence[_Placed], tokens: Tokens) -> dict[str, int]:
    """For each node on the path that matches `tokens`: how many tokens of its edge match."""
    tokens, matched = tuple(tokens), {"": 0}
    for node in placed[1:]:
        start = len(node.prefix) - len(node.node.label)
        parent = node.name.rpartition(".")[0]
        parent_is_whole = parent in matched and node.prefix[:start] == tokens[:start]
        if parent_is_whole and (count := _shared(node.prefix[start:], tokens[start:])):
            matched[node.name] = count
    return matched


def _shared(first: Sequence, second: Sequence) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _changes(before: TreeNode, after: TreeNode) -> dict[str, str]:
    """What happened to each node of `after`, by name: "new" or "split"."""
    lengths = {node.prefix: len(node.node.label) for node in _place(before)}
    ends_inside = {
        prefix[:length] for prefix, own in lengths.items() for length in range(len(prefix) - own + 1, len(prefix))
    }
    changes = {}
    for node in _place(after):
        if node.prefix in ends_inside or lengths.get(node.prefix, len(node.node.label)) != len(node.node.label):
            changes[node.name] = "split"
        elif node.prefix not in lengths:
            changes[node.name] = "new"
    return changes


def _remarks(placed: Sequence[_Placed], matched: dict[str, int], marks: dict[str, str]) -> dict[str, str]:
    """What stands under each edge: its mark, and how much of it matches where that is not all."""
    remarks = {}
    for node in placed[1:]:
        size, count = len(node.node.label), matched.get(node.name)
        partial = f"{count} of {size} match" if count is not None and count < size else ""
        remarks[node.name] = ", ".join(part for part in (marks.get(node.name, ""), partial) if part)
    return remarks


def _spell(tokens: Tokens, shown: int | None = None) -> str:
    """Tokens as text; with `shown`, only that many of them and the last, with the count."""
    if isinstance(tokens, str):
        return f"“{tokens}”" if shown is None or shown >= len(tokens) else f"“{tokens[:shown]}…” ({len(tokens)})"
    words = [str(token) for token in tokens]
    if shown is None or shown >= len(words):
        return " ".join(words)
    return " ".join([*words[:shown], "…", words[-1], f"({len(words)})"])


def _short(tokens: Tokens, width: int) -> str:
    """The longest spelling of `tokens` that fits `width` pixels."""
    for shown in range(min(len(tokens), 40), 0, -1):
        if text_width(_spell(tokens, shown)) <= width:
            return _spell(tokens, shown)
    return fit(_spell(tokens, 1), width)


def _state(node: TreeNode) -> str:
    """The line about locks and the last use, or nothing."""
    locks = plural(node.locks, "lock") if node.locks else "0 locks"
    parts = [locks] if node.locks is not None else []
    return " · ".join(parts + ([f"last used {node.last_used}"] if node.last_used is not None else []))


def _lines(placed: _Placed) -> list[str]:
    head = ["root"] if not placed.name else []
    return [line for line in [*head, placed.node.note, _state(placed.node)] if line]


_MARKED = {"new": tint(GREEN, 30), "split": tint(YELLOW, 40)}


class _Sketch:
    """Sizes and positions of a tree; computed before drawing so that the canvas fits."""

    ELBOW = 14

    def __init__(self, placed: Sequence[_Placed], remarks: dict[str, str], *, query: bool):
        self.placed, self.remarks = placed, remarks
        self.box_height = max(8 + 17 * max(len(_lines(p)) for p in placed), 20)
        self.row_height = max(self.box_height + 16, 50)
        for room in (170, 130, 100, 76):
            self._columns(room)
            if self.right + MARGIN <= MAX_WIDTH:
                break
        self.keys = self._keys(query)
        self.width = max(self.right + MARGIN, 240)
        self.tree_height = self.row_height * (max(p.row for p in placed) // 2 + 1)
        self.height = (
            self.tree_height + (10 + legend_height(self.keys, self.width - 2 * MARGIN) if self.keys else 0) + 8
        )

    def _columns(self, room: int) -> None:
        """Left edge and width of the boxes at each depth, when an edge label may take `room` pixels."""
        self.labels = {p.name: _short(p.node.label, room) for p in self.placed[1:]}
        self.left, self.box_width, x = [], [], MARGIN
        for depth in range(max(p.depth for p in self.placed) + 1):
            here = [p for p in self.placed if p.depth == depth]
            if depth:
                texts = [text_width(self.labels[p.name]) for p in here]
                texts += [text_width(self.remarks[p.name], SMALL) for p in here]
                x += self.ELBOW + max(texts) + 14
            inside = [text_width(line, SMALL) for p in here for line in _lines(p)]
            width = min(max([*inside, 4]) + 16, max(room, 110) + 16)
            self.left.append(x)
            self.box_width.append(width)
            x += width
        self.right = x

    def _keys(self, query: bool) -> list[Key]:
        keys = [Key("matches the query", BLUE)] if query else []
        if any(p.node.locks for p in self.placed):
            keys += [Key("locked: in use, never evicted", tint(VERMILLION, 30)), Key("not locked", PALE)]
        return keys

    def middle(self, p: _Placed) -> int:
        return p.row * self.row_height // 2 + self.row_height // 2

    def draw(self, figure: Figure, top: int, matched: dict[str, int], marks: dict[str, str]) -> None:
        by_name = {p.name: p for p in self.placed}
        for p in sorted(self.placed[1:], key=lambda p: p.name in matched):  # matched edges last, on top
            self._edge(figure, top, by_name[p.name.rpartition(".")[0]], p, matched.get(p.name, 0))
        for p in self.placed:
            self._node(figure, top, p, matched.get(p.name) == len(p.node.label), marks.get(p.name, ""))
        draw_legend(figure, self.keys, MARGIN, top + self.tree_height + 10, self.width - 2 * MARGIN)

    def _edge(self, figure: Figure, top: int, parent: _Placed, p: _Placed, matched: int) -> None:
        start = self.left[parent.depth] + self.box_width[parent.depth]
        turn, end = start + self.ELBOW // 2, self.left[p.depth]
        y0, y1 = top + self.middle(parent), top + self.middle(p)
        dash = "8 4" if 0 < matched < len(p.node.label) else ""
        style = {"stroke": BLUE, "width": 4, "dash": dash} if matched else {"stroke": RULE, "width": 1}
        figure.polyline([(start, y0), (turn, y0), (turn, y1), (end, y1)], **style)
        figure.text(start + self.ELBOW, y1 - 7, self.labels[p.name], size=BASE, fill=INK)
        figure.text(start + self.ELBOW, y1 + 16, self.remarks[p.name], size=SMALL, fill=MUTED)

    def _node(self, figure: Figure, top: int, p: _Placed, matched: bool, mark: str) -> None:
        x, width = self.left[p.depth], self.box_width[p.depth]
        y = top + self.middle(p) - self.box_height // 2
        fill = tint(VERMILLION, 30) if p.node.locks else _MARKED.get(mark, PALE)
        border = BLUE if matched else RULE
        lines = _lines(p)
        figure.rect(x, y, width, self.box_height, fill=fill, stroke=border, stroke_width=3 if matched else 1, radius=6)
        first = y + (self.box_height - 17 * len(lines)) // 2
        for i, line in enumerate(lines):
            figure.label(x + 2, first + 17 * i, width - 4, 17, line, size=SMALL)


def _alt(placed: Sequence[_Placed], matched: dict[str, int], highlight: Tokens | None, marks: dict[str, str]) -> str:
    tokens = sum(len(p.node.label) for p in placed)
    parts = [f"A tree of {plural(len(placed) - 1, 'node')} below the root, {plural(tokens, 'token')} in all."]
    if highlight is not None:
        parts.append(f"The query {_spell(highlight, 12)} matches {plural(sum(matched.values()), 'token')}.")
    if placed[0].node.note:
        parts.append(f"Root: {placed[0].node.note}.")
    return " ".join(parts + [_sentence(p, matched, marks) for p in placed[1:]])


def _sentence(p: _Placed, matched: dict[str, int], marks: dict[str, str]) -> str:
    facts = [f"tokens {_spell(p.node.label, 12)}", printable(p.node.note), _state(p.node).replace(" · ", ", ")]
    if p.name in matched:
        facts.append(f"{matched[p.name]} of {len(p.node.label)} match")
    facts.append(marks.get(p.name, ""))
    return f"Node {p.name}: {'; '.join(fact for fact in facts if fact)}."
