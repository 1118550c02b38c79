import sys
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from yaie.kernels import radix_tree
from yaie.kernels.radix_tree import Node, RadixTree, RequestEnds

few_tokens = st.lists(st.integers(0, 2), max_size=7)  # three letters, so that prefixes are often shared


class TestRadixTree:
    """The two test cases of the implementation guide, unchanged but for the import."""

    def test_basic_insertion_and_search(self):
        tree = RadixTree()
        # Insert requests
        tree.insert_request("req1", [1, 2, 3])
        tree.insert_request("req2", [1, 2, 4])  # Shares prefix [1, 2]
        tree.insert_request("req3", [5, 6, 7])  # No shared prefix
        # Test shared prefixes
        shared, length = tree.find_shared_prefixes([1, 2, 5])
        assert "req1" in shared
        assert "req2" in shared
        assert length == 2  # Common prefix [1, 2]

    def test_prefix_sharing_graph(self):
        tree = RadixTree()
        tree.insert_request("req1", [1, 2, 3])
        tree.insert_request("req2", [1, 2, 4])
        tree.insert_request("req3", [1, 5, 6])
        graph = tree.get_shared_computation_graph()
        # Should show shared computation at token [1]
        assert graph["request_count"] == 3  # All requests start with root


def check(tree: RadixTree) -> None:
    """Fails if the tree is malformed, not compressed, or disagrees with the list of requests."""
    radix_tree.check_links(tree.root)
    ends = {}
    for node in radix_tree.iter_nodes(tree.root):
        needed = node.parent is None or len(node.children) > 1 or node.payload.order_of
        assert needed, f"{node}: no request ends here and no path branches, so it should not exist"
        ends |= dict.fromkeys(node.payload.order_of, node)
    assert ends == tree._end_of, f"requests recorded at nodes {sorted(ends)}, in the list {sorted(tree._end_of)}"


def build(requests: dict[str, list[int]]) -> RadixTree:
    tree = RadixTree()
    for request_id, tokens in requests.items():
        tree.insert_request(request_id, tokens)
    check(tree)
    return tree


def edges(tree: RadixTree) -> list[list[int]]:
    return [node.edge.tolist() for node in radix_tree.iter_nodes(tree.root)][1:]


def common(a: list[int], b: list[int]) -> int:
    """The plainest way to count common tokens."""
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length


def test_annotations_resolve():
    """Would catch a module that uses names it never imports, as typing's in the guide's listing."""
    for function in (RadixTree.insert_request, RadixTree.find_shared_prefixes, radix_tree.match_prefix):
        assert "return" in typing.get_type_hints(function)


def test_only_requests_that_share_the_whole_prefix_are_named():
    """Would catch a search that collects everybody it meets on the way: `b` shares one token here, not two."""
    tree = build({"a": [1, 2, 4], "b": [1, 9]})
    assert tree.find_shared_prefixes([1, 2, 3]) == (["a"], 2)
    assert tree.find_shared_prefixes([1, 3]) == (["a", "b"], 1)


def test_stop_inside_an_edge():
    """Would catch a search that counts whole nodes only."""
    tree = build({"a": [1, 2, 3, 4]})
    assert tree.find_shared_prefixes([1, 2, 9]) == (["a"], 2)
    assert tree.find_shared_prefixes([1, 2]) == (["a"], 2)
    assert edges(tree) == [[1, 2, 3, 4]], "a search must not change the tree"


def test_nothing_shared_and_nothing_asked():
    """Would catch naming everybody, or failing, when no token matches."""
    tree = build({"a": [1, 2]})
    assert tree.find_shared_prefixes([7]) == ([], 0)
    assert tree.find_shared_prefixes([]) == ([], 0)
    assert RadixTree().find_shared_prefixes([1]) == ([], 0)


def test_a_long_prompt_is_one_node():
    """Would catch a node per token: 4,097 nodes for one prompt."""
    tree = build({"a": list(range(4096))})
    assert len(edges(tree)) == 1


def test_an_insertion_writes_to_the_last_node_only():
    """Would catch recording a request at every node of its path, which slows a shared prefix down with each request."""
    tree = build({f"r{i}": [7] * 50 + [i] for i in range(100)})
    (prefix,) = tree.root.children.values()
    assert len(prefix.edge) == 50
    assert prefix.payload.order_of == {}
    assert [len(leaf.payload.order_of) for leaf in prefix.children.values()] == [1] * 100


def test_ids_come_in_the_order_of_insertion():
    """Would catch an order that depends on the hash seed, or on where in the tree a request hangs."""
    ids = [f"request-{i}" for i in range(40)]
    tree = build({request_id: [1, i % 3, i % 5] for i, request_id in enumerate(ids)})
    assert tree.find_shared_prefixes([1]) == (ids, 1)


def test_removal_undoes_insertion():
    """Would catch tokens that stay when the last request that had them goes, and splits that nothing needs any more."""
    tree = build({"a": [1, 2, 3, 4]})
    tree.insert_request("b", [1, 2, 8])
    assert edges(tree) == [[1, 2], [3, 4], [8]]
    tree.remove_request("b")
    check(tree)
    assert edges(tree) == [[1, 2, 3, 4]]
    tree.remove_request("a")
    assert edges(tree) == []
    with pytest.raises(KeyError, match="no request 'a' in this tree, which holds 0 requests"):
        tree.remove_request("a")


def test_removal_of_a_request_that_ends_inside_a_path():
    """Would catch removing a node that others pass through, and losing the request below when two nodes are joined."""
    tree = build({"short": [1, 2], "long": [1, 2, 3]})
    tree.remove_request("short")
    check(tree)
    assert edges(tree) == [[1, 2, 3]]
    assert tree.find_shared_prefixes([1, 2]) == (["long"], 2)


def test_every_node_knows_which_requests_end_there():
    """Would catch fields that look as if they said where a request ends, but are never set or never read."""
    tree = build({"short": [1, 2], "long": [1, 2, 3]})
    upper, lower = list(radix_tree.iter_nodes(tree.root))[1:]
    assert list(upper.payload.order_of) == ["short"]
    assert list(lower.payload.order_of) == ["long"]


@pytest.mark.parametrize("make", [list, np.array], ids=["list", "numpy"])
def test_the_callers_tokens_are_copied(make):
    """Would catch a tree that changes when the caller goes on using its own list."""
    tokens = make([1, 2, 3])
    tree = build({"a": tokens})
    tokens[0] = 9
    assert tree.request_to_path == {"a": [1, 2, 3]}
    assert tree.find_shared_prefixes([1, 2, 3]) == (["a"], 3)


def test_inserting_an_id_again_moves_it():
    """Would catch a stale path of an id that was inserted with other tokens before."""
    tree = build({"a": [1, 2], "b": [1, 2]})
    tree.insert_request("a", [5])
    check(tree)
    assert tree.find_shared_prefixes([1, 2]) == (["b"], 2)
    assert tree.request_to_path == {"b": [1, 2], "a": [5]}


def test_equal_prompts_are_two_requests():
    """Would catch one entry per prompt, where the second request replaces the first."""
    tree = build({"a": [1, 2], "b": [1, 2]})
    assert tree.find_shared_prefixes([1, 2]) == (["a", "b"], 2)
    tree.remove_request("b")
    assert tree.find_shared_prefixes([1, 2]) == (["a"], 2)


def test_an_exact_repeat_asked_without_its_last_token_leaves_it():
    """Would catch a reuse of the whole prompt, which leaves nothing to forward and so no next token."""
    prompt = [1, 2, 3]
    tree = build({"a": prompt})
    _, length = tree.find_shared_prefixes(prompt[:-1])
    assert len(prompt) - length == 1


def test_graph():
    """Would catch a root without requests, and nodes whose tokens, places, requests or links are wrong."""
    tree = build({"a": [1, 2, 3], "b": [1, 2, 4], "c": [1, 5]})
    assert tree.get_shared_computation_graph() == {
        "request_count": 3,
        "nodes": [
            {"id": 0, "tokens": [], "start": 0, "request_ids": ["a", "b", "c"]},
            {"id": 1, "tokens": [1], "start": 0, "request_ids": ["a", "b", "c"]},
            {"id": 2, "tokens": [2], "start": 1, "request_ids": ["a", "b"]},
            {"id": 3, "tokens": [3], "start": 2, "request_ids": ["a"]},
            {"id": 4, "tokens": [4], "start": 2, "request_ids": ["b"]},
            {"id": 5, "tokens": [5], "start": 1, "request_ids": ["c"]},
        ],
        "edges": [(0, 1), (1, 2), (2, 3), (2, 4), (1, 5)],
        "request_to_path": {"a": [1, 2, 3], "b": [1, 2, 4], "c": [1, 5]},
    }
    assert RadixTree().get_shared_computation_graph()["request_count"] == 0


def test_deeper_than_pythons_stack():
    """Would catch a recursive walk: a chat that grows turn by turn is one node per turn."""
    depth = sys.getrecursionlimit() + 100
    tree = RadixTree()
    for turn in range(1, depth + 1):
        tree.insert_request(f"turn {turn}", [0] * turn)
    check(tree)
    ids, length = tree.find_shared_prefixes([0] * depth + [1])
    assert (ids, length) == ([f"turn {depth}"], depth)
    assert len(tree.find_shared_prefixes([0])[0]) == depth


@pytest.mark.parametrize(
    ("request_id", "tokens", "error", "message"),
    [
        ("", [1], ValueError, "request_id must not be empty"),
        (7, [1], TypeError, "request_id must be a str, got 7"),
        ("a", [1, 2.5], TypeError, "token_ids must be integers"),
        ("a", ["x"], TypeError, "token_ids must be integers"),
        ("a", [1, None], TypeError, "token_ids must be integers"),
        ("a", [True, False], TypeError, "token_ids must be integers"),
        ("a", [2**63], TypeError, "token_ids must be integers that fit 64 bits"),
        ("a", [[1, 2], [3, 4]], ValueError, r"token_ids must be a flat sequence of integers, got shape \(2, 2\)"),
        ("a", [[1, 2], [3]], ValueError, "token_ids"),
        ("a", 5, ValueError, "token_ids must be a flat sequence"),
        ("a", None, ValueError, "token_ids must be a flat sequence"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(request_id, tokens, error, message):
    """Would catch a tree left half changed: the known id `a` must keep its old tokens."""
    tree = build({"a": [1, 2, 3]})
    with pytest.raises(error, match=message):
        tree.insert_request(request_id, tokens)
    check(tree)
    assert tree.request_to_path == {"a": [1, 2, 3]}
    assert edges(tree) == [[1, 2, 3]]


def test_a_request_without_tokens():
    """Would catch an id that is lost because it ends at the root."""
    tree = build({"a": []})
    assert tree.request_to_path == {"a": []}
    tree.remove_request("a")
    check(tree)
    assert tree.request_to_path == {}


# The shared tree


def path_tree(*runs: list[int], page_size: int = 1) -> Node:
    """A root with one path below it, an edge for each of `runs`."""
    root = node = Node(np.empty(0, dtype=np.int64), RequestEnds())
    for run in runs:
        node = radix_tree.add_leaf(node, np.array(run), RequestEnds(), page_size)
    return root


@pytest.mark.parametrize(
    ("tokens", "page_size", "edge", "inside", "length"),
    [
        ([], 1, [], 0, 0),
        ([9], 1, [], 0, 0),
        ([1], 1, [1, 2], 1, 1),
        ([1, 2], 1, [1, 2], 2, 2),
        ([1, 2, 3, 9], 1, [3, 4, 5, 6], 1, 3),
        ([1, 2, 3, 4, 5, 6], 1, [3, 4, 5, 6], 4, 6),
        ([1, 2, 3, 4, 5, 6, 7], 1, [3, 4, 5, 6], 4, 6),
        ([1, 2, 3, 9], 2, [1, 2], 2, 2),
        ([1, 2, 3, 4, 5], 2, [3, 4, 5, 6], 2, 4),
        ([1], 2, [], 0, 0),
    ],
)
def test_match_prefix_stops_where_the_tokens_part(tokens, page_size, edge, inside, length):
    """Would catch a walk that overshoots an edge, stops between pages, or takes a child by half of its first page."""
    root = path_tree([1, 2], [3, 4, 5, 6], page_size=page_size)
    position = radix_tree.match_prefix(root, np.array(tokens, dtype=np.int64), page_size)
    assert (position.node.edge.tolist(), position.inside, position.length) == (edge, inside, length)


@given(few_tokens, few_tokens)
def test_common_prefix_length(a, b):
    """Would catch an off-by-one at a mismatch, at the end of the shorter side, and with nothing to compare."""
    assert radix_tree.common_prefix_length(np.array(a, dtype=np.int64), np.array(b, dtype=np.int64)) == common(a, b)


def test_split_keeps_the_lower_node_and_fixes_all_links():
    """Would catch a split that replaces the lower node (requests and locks hold it), or forgets a link or a key."""
    root = path_tree([1, 2, 3, 4], [5])
    (node,) = root.children.values()
    upper = radix_tree.split_node(node, 3)
    radix_tree.check_links(root)
    assert root.children == {(1,): upper}
    assert upper.edge.tolist() == [1, 2, 3]
    assert upper.children == {(4,): node}
    assert node.edge.tolist() == [4]
    assert [child.edge.tolist() for child in node.children.values()] == [[5]]


def test_split_between_pages_files_children_by_whole_pages():
    """Would catch children filed by one token, where two children of a node may begin with the same one."""
    root = path_tree([1, 2, 3, 4], page_size=2)
    (node,) = root.children.values()
    upper = radix_tree.split_node(node, 2, page_size=2)
    radix_tree.add_leaf(upper, np.array([3, 9]), RequestEnds(), page_size=2)
    radix_tree.check_links(root, page_size=2)
    assert list(upper.children) == [(3, 4), (3, 9)]


def test_check_links_sees_damage():
    """Would catch a check that cannot fail."""
    for damage in ("parent", "key", "edge"):
        root = path_tree([1, 2])
        (node,) = root.children.values()
        setattr(node, damage, {"parent": None, "key": (7,), "edge": np.empty(0, dtype=np.int64)}[damage])
        with pytest.raises(AssertionError):
            radix_tree.check_links(root)
    node.key, root.children = (), {(): node}  # an edge without tokens, filed as one
    with pytest.raises(AssertionError, match="not a whole number of pages"):
        radix_tree.check_links(root)


def test_a_node_is_shown_with_its_first_tokens():
    """Would catch dots after a whole edge, or none after a cut one."""
    shown = [str(path_tree(list(range(length))).children[0,]) for length in (1, 8, 9)]
    assert shown == [
        "<Node [0] 1 tokens, 0 children>",
        "<Node [0 1 2 3 4 5 6 7] 8 tokens, 0 children>",
        "<Node [0 1 2 3 4 5 6 7 ...] 9 tokens, 0 children>",
    ]


def test_check_sees_damage():
    """Would catch a check that passes everything: the machine below trusts it after each step."""
    tree = build({"a": [1, 2, 3]})
    radix_tree.split_node(tree._end_of["a"], 1)
    with pytest.raises(AssertionError, match="no request ends here and no path branches"):
        check(tree)
    tree = build({"a": [1, 2], "b": [1, 3]})
    tree._end_of["a"] = tree._end_of["b"]
    with pytest.raises(AssertionError, match=r"requests recorded at nodes \['a', 'b'\]"):
        check(tree)


class RadixTreeMachine(RuleBasedStateMachine):
    """Any sequence of calls on a tree and on a plain dict of id to tokens, which must agree after each."""

    ids = st.sampled_from(["a", "b", "c", "d", "e", "f"])

    def __init__(self):
        super().__init__()
        self.tree = RadixTree()
        self.model: dict[str, list[int]] = {}

    @rule(request_id=ids, tokens=few_tokens)
    def insert(self, request_id, tokens):
        self.tree.insert_request(request_id, tokens)
        self.model.pop(request_id, None)  # a moved request counts as inserted last
        self.model[request_id] = tokens

    @rule(request_id=ids)
    def remove(self, request_id):
        if request_id in self.model:
            self.tree.remove_request(request_id)
            del self.model[request_id]
        else:
            with pytest.raises(KeyError):
                self.tree.remove_request(request_id)

    @rule(tokens=few_tokens)
    def find(self, tokens):
        length = max((common(t, tokens) for t in self.model.values()), default=0)
        ids = [i for i, t in self.model.items() if length and t[:length] == tokens[:length]]
        assert self.tree.find_shared_prefixes(tokens) == (ids, length)

    @invariant()
    def agrees(self):
        check(self.tree)
        graph = self.tree.get_shared_computation_graph()
        assert graph["request_to_path"] == self.model
        assert list(graph["request_to_path"]) == list(self.model)
        assert graph["request_count"] == len(self.model)
        prefix_of = {0: []}
        for parent, child in sorted(graph["edges"]):
            prefix_of[child] = prefix_of[parent] + graph["nodes"][child]["tokens"]
        for node in graph["nodes"]:
            prefix = prefix_of[node["id"]]
            assert node["request_ids"] == [i for i, t in self.model.items() if t[: len(prefix)] == prefix]


TestRadixTreeMachine = RadixTreeMachine.TestCase
TestRadixTreeMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
