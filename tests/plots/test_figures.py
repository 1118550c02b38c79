"""Every figure: nothing cut or overlapping, the same bytes, alt text with the facts, errors that name the argument."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yaie import plots
from yaie.plots import Block, Span, TreeNode
from yaie.plots.svg import Figure

HOSTILE = "<script>alert('x')</script> & \"quotes\" \x00\ud800 \u202e 日本語 very long name that goes on and on"
LONG = "a name that is much longer than any name that a figure expects and so has to be shortened"

TREE = TreeNode(
    children=[
        TreeNode((1, 2), "a, b, c", 1, 0, [TreeNode((3, 4, 5), "a", 0, 3), TreeNode((7,), "b, c", 1, 0)]),
        TreeNode(tuple(range(40, 104)), "d", 0, 8),
    ]
)
POOL = plots.blocks_of({"A": [0, 1, 2], "B": [0, 1, 5]}, {"A": 10, "B": 9}, num_blocks=8, block_size=4, cached=[3])


def _tree(name: str) -> TreeNode:
    return TreeNode(
        children=[TreeNode(name, name, 3, 12345678, [TreeNode([name] * 3, name), TreeNode([name, 7], name)])]
    )


def _gallery(name: str) -> dict[str, Figure]:
    """Each kind of figure with `name` wherever a name can stand."""
    several = [name, name + " 2", "B"]
    pool = [Block([name], 2), Block(several, 4), Block([], 0), Block((), 4, True)]
    return {
        "radix_tree": plots.radix_tree(_tree(name), highlight=name[:3], title=name),
        "tree_filmstrip": plots.tree_filmstrip([TREE, _tree(name), _tree("x")], several),
        "block_map": plots.block_map(pool, block_size=4, title=name),
        "block_map_steps": plots.block_map_steps([pool, pool], several[:2], block_size=4, title=name),
        "page_walk": plots.page_walk([3, 0, 1], 5, context_len=9, block_size=4, num_blocks=4, title=name),
        "bars": plots.bars({name: 3, "B": {"used": 5, name: 7.5}, "C": 0}, unit="slots", title=name),
        "matrix": plots.matrix(
            [[0.5, -1.25], [None, 7]],
            mask=[[True, True], [True, False]],
            row_labels=several[:2],
            col_labels=several[:2],
            row_title=name,
            title=name,
        ),
        "rotation": plots.rotation({n: i for i, n in enumerate(several)}, thetas=(1, 0.01), title=name),
        "flow": plots.flow([(name, name, name), ("B", "[2, 3]"), ("C", "[1]", name)], skips=[(0, 1), (0, 2)]),
        "lines": plots.lines({n: [(1, 2), (4, 9 + i)] for i, n in enumerate(several)}, name, name, title=name),
        "roofline": plots.roofline({n: (2.0**i, 1e12) for i, n in enumerate(several)}, 1e14, 1e12, title=name),
        "stacked": plots.stacked([{name: 3, "free": 5}, {name: 4, "free": 5}], labels=several[:2], title=name),
        "timeline": plots.timeline([(name, 0, 2, "prefill", name), ("B", 0, 1, "waiting"), ("B", 1, 50, "decode")]),
        "lanes": plots.lanes(
            [(name, 0, 2, name), ("B", 1.5, 3, "b"), (name, 2, 900.25, "c")], unit=name[:3], title=name
        ),
        "probabilities": plots.probabilities(several, {name: [0.5, 0.5, 0], "B": [1, 0, 0]}, title=name),
        "threads_to_memory": plots.threads_to_memory([0, 400, None, 8], title=name),
        "thread_map": plots.thread_map([[[0, 4], [1]], [[1], [], [7]]], 6, title=name),
        "bank_map": plots.bank_map([4 * 32 * i for i in range(32)], title=name),
        "filmstrip": plots.filmstrip([plots.bars({"a": 1}), plots.bars({"b": 2})], several[:2], title=name),
    }


CASES = [(kind, name) for name in ("A", LONG, HOSTILE) for kind in _gallery("A")]


@pytest.fixture(scope="module")
def galleries():
    return {name: _gallery(name) for name in ("A", LONG, HOSTILE)}


@pytest.fixture(scope="module")
def galleries_again():
    return {name: _gallery(name) for name in ("A", LONG, HOSTILE)}


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda v: {LONG: "long", HOSTILE: "hostile"}.get(v, v))
def test_nothing_is_cut_and_no_texts_overlap(galleries, kind, name):
    """Would catch: a label that leaves the canvas, and two texts that are written over each other."""
    figure = galleries[name][kind]
    for box in figure.boxes:
        inside = 0 <= box.left <= box.right <= figure.width and 0 <= box.top <= box.bottom <= figure.height
        assert inside, (box, figure.width, figure.height)
    texts = [box for box in figure.boxes if box.kind == "text"]
    for i, a in enumerate(texts):
        for b in texts[i + 1 :]:
            assert not _overlap(a, b), (a, b)


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda v: {LONG: "long", HOSTILE: "hostile"}.get(v, v))
def test_document_is_well_formed_with_whole_coordinates_and_large_type(galleries, galleries_again, kind, name):
    """Would catch: a label that breaks the XML, a fraction that differs by machine, type too small to read."""
    figure = galleries[name][kind]
    root = ET.fromstring(figure.svg().encode())
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    for element in root.iter():
        if "pattern" in element.tag or element.tag.endswith("defs"):
            continue
        for key in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "points", "font-size"):
            for part in re.split("[ ,]", element.get(key, "0")):
                assert re.fullmatch(r"-?\d+", part), (element.tag, key, part)
        assert int(element.get("font-size", 12)) >= 12
    assert figure.svg() == galleries_again[name][kind].svg()


@pytest.mark.parametrize("kind", list(_gallery("A")))
def test_width_fits_a_notebook(galleries, kind):
    """Would catch: a figure so wide that a notebook would shrink its text."""
    assert galleries[LONG][kind].width <= 1000
    assert galleries["A"][kind].width <= 900


def test_same_bytes_whatever_the_hash_seed():
    """Would catch: an order that comes from a set of strings and so differs between runs."""
    code = (
        "from yaie import plots; import hashlib;"
        "b = plots.blocks_of({'req-a': [0, 1], 'req-b': [0, 2]}, {'req-a': 7, 'req-b': 8}, num_blocks=4, block_size=4);"
        "f = [plots.block_map(b, block_size=4), plots.bars({'x': {'p': 1, 'q': 2}, 'y': {'r': 3}}),"
        "plots.timeline([('r', 0, 1, 'waiting'), ('r', 1, 2, 'prefill'), ('s', 0, 3, 'decode')]),"
        "plots.flow([('a', '1'), ('b', '2'), ('c', '3')], skips=[(0, 1), (0, 2), (1, 2)])];"
        "print(hashlib.sha256(''.join(x.svg() for x in f).encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(runs) == 1


def test_import_needs_neither_torch_nor_widgets():
    """Would catch: a figure that costs the import of the engine."""
    code = "import sys, yaie.plots; print({'torch', 'numpy', 'ipywidgets', 'matplotlib'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def _overlap(a, b) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


trees = st.recursive(
    st.builds(
        TreeNode,
        st.lists(st.integers(0, 99999), min_size=1, max_size=30),
        st.sampled_from(["", "a", "a, b, c, d, e", "slots 4-7"]),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([None, 0, 17]),
    ),
    lambda below: st.builds(
        TreeNode,
        st.lists(st.integers(0, 99999), min_size=1, max_size=30),
        st.sampled_from(["", "a"]),
        st.sampled_from([None, 0, 2]),
        st.none(),
        st.lists(below, max_size=4),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=40)
@given(st.lists(trees, max_size=4))
def test_boxes_of_a_tree_never_overlap(children):
    """Would catch: siblings or cousins drawn over each other in a tree of any shape."""
    figure = plots.radix_tree(TreeNode(children=children))
    boxes = [b for b in figure.boxes if b.kind in ("rect", "text")]
    nodes = [b for b in boxes if b.kind == "rect"]
    assert not [(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :] if _overlap(a, b)]
    assert all(b.left >= 0 and b.right <= figure.width and b.bottom <= figure.height for b in boxes)
    texts = [b for b in boxes if b.kind == "text"]
    assert not [(a, b) for i, a in enumerate(texts) for b in texts[i + 1 :] if _overlap(a, b)]


def test_tree_says_what_it_shows():
    """Would catch: a blind learner who gets fewer facts than the picture has."""
    alt = plots.radix_tree(TREE, highlight=[1, 2, 3, 4, 9]).alt
    assert "4 nodes below the root, 70 tokens in all" in alt
    assert "The query 1 2 3 4 9 matches 4 tokens." in alt
    assert "Node 1: tokens 1 2; a, b, c; 1 lock, last used 0; 2 of 2 match." in alt
    assert "Node 1.1: tokens 3 4 5; a; 0 locks, last used 3; 2 of 3 match." in alt
    assert "Node 1.2: tokens 7; b, c; 1 lock, last used 0." in alt
    assert re.search(r"Node 2: tokens 40 41 .* … 103 \(64\); d; 0 locks, last used 8\.", alt)


@pytest.mark.parametrize(
    ("query", "matched"), [([], 0), ([9], 0), ([1], 1), ([1, 2, 7, 8], 3), (list(range(40, 200)), 64), ([2], 0)]
)
def test_highlight_counts_matching_tokens(query, matched):
    """Would catch: a path that goes on below an edge of which only a part matches."""
    assert f"matches {matched} token" in plots.radix_tree(TREE, highlight=query).alt


def test_tree_filmstrip_names_new_and_split_nodes():
    """Would catch: a strip that leaves the reader to find out what an insertion changed."""
    first = TreeNode(children=[TreeNode((1, 2, 3), "a")])
    second = TreeNode(children=[TreeNode((1, 2), "a, b", children=[TreeNode((3,), "a"), TreeNode((4,), "b")])])
    alt = plots.tree_filmstrip([first, second], ["a", "b"]).alt
    assert "Node 1: tokens 1 2; a, b; split." in alt
    assert "Node 1.1: tokens 3; a; split." in alt
    assert "Node 1.2: tokens 4; b; new." in alt


def test_tree_from_graph_of_the_real_tree():
    """Would catch: a change of the tree's dict that the figure does not follow."""
    from yaie.kernels.radix_tree import RadixTree

    tree = RadixTree()
    for name, tokens in (("a", [1, 2, 3]), ("b", [1, 2, 4]), ("c", [1, 5, 6])):
        tree.insert_request(name, tokens)
    alt = plots.radix_tree(plots.tree_from_graph(tree.get_shared_computation_graph())).alt
    assert "Node 1: tokens 1; a, b, c." in alt
    assert "Node 1.1: tokens 2; a, b." in alt
    assert "Node 1.2: tokens 5 6; c." in alt


def test_thread_map_counts_idle_threads_clashes_and_gaps():
    """Would catch: a picture of a wrong kernel that looks like that of a right one."""
    right = plots.thread_map([[[0], [1]], [[2], []]], 3)
    assert "4 threads, 3 elements; 1 thread without work. Elements" in right.alt
    wrong = plots.thread_map([[[0], [1]], [[0], [1], [5]]], 4)
    assert "2 elements with several threads; 2 elements that nobody works on; 1 index past the end" in wrong.alt
    assert "block 1 thread 2: 5." in wrong.alt
    with pytest.raises(ValueError, match="expected about 30"):
        plots.thread_map([[[100]]], 4)


def test_blocks_of_fills_tails_and_shares():
    """Would catch: a tail page that looks full, or a shared page counted once."""
    assert POOL[0] == Block(("A", "B"), 4)
    assert POOL[2] == Block(("A",), 2)
    assert POOL[5] == Block(("B",), 1)
    assert POOL[3] == Block((), 4, True)
    assert POOL[7] == Block()


def test_block_map_says_what_it_shows():
    alt = plots.block_map(POOL, block_size=4).alt
    assert "8 blocks of 4 slots" in alt
    assert "A holds 0 (shared by 2), 1 (shared by 2), 2 (2 of 4 slots filled)" in alt
    assert "B holds 0 (shared by 2), 1 (shared by 2), 5 (1 of 4 slots filled)" in alt
    assert "the prefix cache alone holds 3; free: 4, 6, 7." in alt
    steps = plots.block_map_steps([POOL, [*POOL[:7], Block(("C",), 4)]], ["step 0", "step 1"], block_size=4).alt
    assert "step 1: 8 blocks" in steps
    assert "C holds 7" in steps


def test_bars_have_lengths_in_proportion():
    """Would catch: bars that do not start at zero, and parts that do not add up to the whole."""
    figure = plots.bars({"a": 100, "b": 50, "c": {"x": 25, "y": 75}}, unit="slots")
    widths = [b.right - b.left for b in figure.boxes if b.kind == "rect" and b.bottom - b.top == 30]
    assert widths[0] == pytest.approx(2 * widths[1], abs=1)
    assert widths[2] + widths[3] == pytest.approx(widths[0], abs=1)
    assert figure.alt == "3 bars. a: 100 slots; b: 50 slots; c: 100 slots (x 25, y 75)."


def test_matrix_says_what_it_shows():
    mask = plots.matrix([[True, False], [True, True]], row_title="query", col_title="key").alt
    assert "0: open to 0; 1: open to 0, 1." in mask
    values = plots.matrix([[0.5, -1.25], [2, 3]], mask=[[True, True], [True, False]]).alt
    assert "0: 0.50, −1.25; 1: 2.00, hidden." in values
    assert "0: 7, empty." in plots.matrix([[7, None]]).alt  # nothing there is not the same as hidden


def test_bars_of_two_figures_with_one_scale_can_be_compared():
    """Would catch a slider under which the likeliest token's bar has always the same height."""
    even, sure = (plots.probabilities(["a", "b"], {"p": p}, highest=1).svg() for p in ([0.5, 0.5], [1, 0]))
    assert even.count('height="30"') == 2
    assert sure.count('height="60"') == 1


def test_matrix_takes_a_tensor():
    import torch

    assert plots.matrix(torch.eye(2)).svg() == plots.matrix([[1.0, 0.0], [0.0, 1.0]]).svg()


def test_timeline_says_what_it_shows():
    rows = [Span("A", 0, 2, "prefill", "64"), Span("A", 2, 5, "decode"), Span("B", 0, 1, "waiting")]
    alt = plots.timeline(rows).alt
    assert "2 requests, steps 0 to 4." in alt
    assert "A: prefill steps 0-1 (64), decode steps 2-4; B: waiting step 0." in alt


def test_lanes_say_who_works_when():
    """Would catch a picture whose bars nobody can read who does not see them."""
    rows = [("host", 0, 2, "plan 1"), ("device", 2, 5, "step 1"), ("host", 2, 4, "plan 2")]
    alt = plots.lanes(rows, title="Two").alt
    assert alt == "Two. host: plan 1 from 0 to 2 ms, plan 2 from 2 to 4 ms; device: step 1 from 2 to 5 ms."


def test_stacked_names_the_step_that_breaks_the_law():
    """Would catch: a leak that the picture does not show."""
    good = plots.stacked([{"free": 4, "private": 4}, {"free": 1, "private": 7}], pool=8)
    assert "In every step the parts add up to 8 slots." in good.alt
    assert "≠" not in good.svg()
    bad = plots.stacked([{"free": 4, "private": 4}, {"free": 1, "private": 6}], pool=8)
    assert "The parts miss 8 slots in step 1." in bad.alt
    assert bad.svg().count("≠") == 1


@pytest.mark.parametrize(
    ("addresses", "sectors", "used"),
    [
        ([4 * i for i in range(32)], 4, "100%"),
        ([128 * i for i in range(32)], 32, "12.5%"),
        ([4 * i + 4 for i in range(32)], 5, "80%"),
        ([0] * 32, 1, "12.5%"),
        ([30], 2, "6.25%"),
    ],
)
def test_sectors_are_counted(addresses, sectors, used):
    """Would catch: an access that spans two sectors counted once, or shared bytes counted twice."""
    alt = plots.threads_to_memory(addresses).alt
    assert f"{sectors} sector{'' if sectors == 1 else 's'} of 32 = " in alt
    assert f" {used} of the traffic" in alt


@pytest.mark.parametrize(
    ("addresses", "turns"),
    [
        ([4 * i for i in range(32)], 1),
        ([8 * i for i in range(32)], 2),
        ([128 * i for i in range(32)], 32),
        ([0] * 32, 1),
        ([132 * i for i in range(32)], 1),
    ],
)
def test_bank_conflicts_are_counted(addresses, turns):
    """Would catch: a broadcast of one word taken for a conflict."""
    assert f"the access takes {turns} turn" in plots.bank_map(addresses).alt


def test_lines_roofline_probabilities_rotation_and_flow_say_what_they_show():
    lines = plots.lines({"cached": [(64, 1.5), (16, 0.5)]}, "tokens", "time (ms)").alt
    assert lines == "1 curve of time (ms) over tokens. cached: 0.5 at 16, 1.5 at 64."
    roof = plots.roofline({"decode": (2, 1e12), "gemm": (1000, 5e13)}, 1e14, 1e12).alt
    assert "decode: 2 FLOP/byte, 1 TFLOP/s, 50% of the roof, memory-bound." in roof
    assert "gemm: 1,000 FLOP/byte, 50 TFLOP/s, 50% of the roof, compute-bound." in roof
    rows = plots.probabilities(["cat", "dog"], {"before": [0.999, 0.001], "top-k 1": [1, 0]}).alt
    assert "before: cat >99%, dog <1%. top-k 1: cat 100%; cut: dog." in rows
    turned = plots.rotation([0, 1], thetas=[3.141592653589793 / 2]).alt
    assert "Pair 0, 90° per position: p=0 at 0°, p=1 at 90°." in turned
    steps = plots.flow([("x", "[2, 8]"), ("norm", "[2, 8]"), ("add", "[2, 8]")], skips=[(0, 2)]).alt
    assert "1. x gives [2, 8]; 2. norm gives [2, 8]; 3. add gives [2, 8]." in steps
    assert "The output of step 1 (x) also goes into step 3 (add)." in steps


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=5),
        min_size=1,
    )
)
def test_curves_stay_on_the_canvas(series):
    """Would catch: an axis that a flat, tiny or negative series breaks."""
    figure = plots.lines(series, "x", "y")
    assert all(0 <= b.left <= b.right <= figure.width and 0 <= b.top <= b.bottom <= figure.height for b in figure.boxes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.radix_tree([1]), "radix_tree: tree is a list; expected a TreeNode"),
        (lambda: plots.tree_from_graph({"nodes": []}), "tree_from_graph: graph has no 'edges'"),
        (lambda: plots.blocks_of({"a": [9]}, {"a": 1}, num_blocks=4, block_size=2), r"block_tables\['a'\]\[0\] is 9"),
        (
            lambda: plots.blocks_of({"a": [1]}, {}, num_blocks=4, block_size=2),
            "context_lens has no entry for request 'a'",
        ),
        (lambda: plots.block_map([Block(("a",), 5)], block_size=4), r"blocks\[0\].filled is 5"),
        (lambda: plots.block_map([], block_size=4), "blocks is empty"),
        (lambda: plots.block_map_steps([POOL, POOL[1:]], ["a", "b"], block_size=4), r"steps\[1\] has 7 blocks"),
        (lambda: plots.bars({}), "bars: rows is empty"),
        (lambda: plots.bars({"a": -1}), r"bars: rows\['a'\] is -1"),
        (lambda: plots.bars({"a": {"b": float("nan")}}), r"bars: rows\['a'\]\['b'\] is nan"),
        (lambda: plots.bars({"a": "x"}), r"bars: rows\['a'\] is 'x'; expected a finite number"),
        (lambda: plots.matrix([[1], [1, 2]]), r"matrix: values\[1\] has 2 columns"),
        (lambda: plots.matrix([1, 2]), "matrix: values is not a sequence of rows"),
        (lambda: plots.matrix([[1]], mask=[[True, True]]), "mask is 1 x 2; expected 1 x 1"),
        (lambda: plots.matrix([[1]], row_labels=[]), "row_labels has 0 entries; expected 1"),
        (lambda: plots.timeline([]), "timeline: rows is empty"),
        (lambda: plots.timeline([("a", 0, 1, "sleep")]), r"rows\[0\] has kind 'sleep'; expected one of waiting"),
        (lambda: plots.timeline([("a", 1, 1, "decode")]), r"rows\[0\] runs from 1 to 1"),
        (lambda: plots.timeline([("a", 0, 3, "decode"), ("a", 2, 4, "decode")]), r"rows\[1\] overlaps"),
        (lambda: plots.lanes([]), "lanes: rows is empty"),
        (lambda: plots.lanes([("a", 2, 1, "b")]), r"rows\[0\] runs from 2 to 1"),
        (lambda: plots.lanes([("a", 0, 3, "b")], end=2), "lanes: end is 2; expected at least 3"),
        (lambda: plots.stacked([]), "stacked: steps is empty"),
        (lambda: plots.stacked([{"free": -1}]), r"stacked: steps\[0\]\['free'\] is -1"),
        (lambda: plots.lines({}, "x", "y"), "lines: series is empty"),
        (lambda: plots.lines({"a": []}, "x", "y"), r"lines: series\['a'\] is empty"),
        (lambda: plots.lines({"a": [(0, 1)]}, "x", "y", log_x=True), "lines: x holds 0; expected positive"),
        (lambda: plots.roofline({"a": (0, 1)}, 1, 1), r"roofline: points\['a'\] is \(0, 1\)"),
        (lambda: plots.roofline({}, 0, 1), "peak_flops must be positive"),
        (lambda: plots.probabilities(["a"], {"b": [0.5, 0.5]}), r"series\['b'\] has 2 values for 1 label"),
        (lambda: plots.probabilities(["a"], {"b": [1.5]}), r"series\['b'\] leaves the range"),
        (lambda: plots.probabilities(["a"], {"b": [0.5]}, highest=0.4), "0.5 is more than highest=0.4"),
        (lambda: plots.rotation([]), "rotation: positions is empty"),
        (lambda: plots.rotation([1], vector=(0, 0)), "rotation: vector"),
        (lambda: plots.flow([]), "flow: steps is empty"),
        (lambda: plots.flow([("a", "b")], skips=[(0, 1)]), r"flow: skips holds \(0, 1\)"),
        (lambda: plots.threads_to_memory([None]), "threads_to_memory: addresses has no active thread"),
        (lambda: plots.threads_to_memory([0] * 33), "addresses has 33 entries"),
        (lambda: plots.bank_map([0], num_banks=0), "bank_map: num_banks is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    """Would catch: an error from deep inside the drawing that says nothing about the argument."""
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("values", "in_the_bar"),
    [
        ({"a": 300, "b": 700}, ["A 300", "B 700"]),
        ({"a": 40, "b": 960}, ["A", "B 960"]),
        ({"a": 1, "b": 999}, ["B 999"]),
        ({"a": 0, "b": 999}, ["B 999"]),
    ],
)
def test_a_part_says_as_much_as_has_room(values, in_the_bar):
    """Would catch a letter that is drawn over the edge of a part too narrow for it, into its neighbour."""
    texts = re.findall(r">([^<>]+)</text>", plots.bars({"x": values}).svg())
    assert texts == ["x", *in_the_bar, f"{sum(values.values()):,}", "A", "a", "B", "b"]


@pytest.mark.parametrize(("first", "num_steps", "shown"), [(0, 4, 1), (0, 60, 2), (10**6, 60, 5), (10**15, 60, 10)])
def test_steps_are_numbered_as_often_as_there_is_room(first, num_steps, shown):
    """Would catch: numbers of steps written over each other, or so few that no step can be found."""
    svg = plots.timeline([Span("A", first, first + num_steps, "decode")]).svg()
    numbers = [int(text) for text in re.findall(r'text-anchor="middle"[^>]*>(\d+)</text>', svg)]
    assert numbers == list(range(first, first + num_steps, shown))
