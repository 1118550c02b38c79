"""The kernels of csrc/radix_ops against the engine's own tree and cache: on a GPU, or in the emulator's check mode."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yaie.engine.prefix_cache import PrefixCache
from yaie.kernels import api, ops, radix_ops, radix_tree

BACKEND = "cuda" if torch.cuda.is_available() else "emulator"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RUNGS = (1, 2)
BY_TORCH = ops.operations("torch")


def kernels(rung=2):
    return ops.KernelOperations(BACKEND, rungs={"match_prefixes": rung}, check=BACKEND == "emulator")


def cache_of(prompts, page_size):
    cache, next_page = PrefixCache(page_size), 0
    for prompt in prompts:
        num_pages = len(prompt) // page_size
        cache.insert(prompt, list(range(next_page, next_page + num_pages)))
        next_page += num_pages
    return cache


def as_rows(queries):
    rows = torch.full((len(queries), max(map(len, queries), default=0)), -7)
    for row, query in zip(rows, queries, strict=True):
        row[: len(query)] = torch.tensor(query)
    return rows.to(DEVICE), [len(query) for query in queries]


def check_matches(root, queries, page_size):
    """Every rung and torch end where the tree's own walk ends."""
    tree, nodes = radix_ops.flatten(root, page_size)
    rows, lengths = as_rows(queries)
    expected = []
    for query in queries:
        node, inside, length = radix_tree.match_prefix(root, np.array(query, dtype=np.int64), page_size)
        expected.append((nodes.index(node), inside, length))
    expected = torch.tensor(expected, dtype=torch.int64).view(-1, 3).T.tolist()
    assert [part.tolist() for part in BY_TORCH.match_prefixes(tree, rows, lengths)] == expected
    for rung in RUNGS:
        got = kernels(rung).match_prefixes(tree.to(DEVICE), rows, lengths)
        assert [part.tolist() for part in got] == expected


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 33, 64, 65])
def test_matches_around_a_warp(length):
    """Catches a vote over lanes beyond the end, and a mismatch found in the wrong group of 32 (R4)."""
    prompt = list(range(100, 100 + length))
    cache = cache_of([prompt], 1)
    queries = [prompt, prompt[:-1], [*prompt, 1], [*prompt[:-1], 5], [5, *prompt], []]
    check_matches(cache.root, queries, 1)


def test_a_root_with_many_children_and_deep_paths():
    """Catches a search among children that misses the first, the last, or one that is not there."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    prompts = torch.randint(0, 40, (60, 12), generator=generator).tolist()
    prompts += [[*prompt[:5], 7, 7, 7] for prompt in prompts[:20]]
    queries = [*prompts[:12], *([*p[:6], 99] for p in prompts[:6]), [41], [-1, 3], prompts[3][:4]]
    for page_size in (1, 2, 4):
        check_matches(cache_of(prompts, page_size).root, queries, page_size)


def test_an_empty_tree_and_no_rows():
    """Catches a root without children that is searched, and a launch of nothing."""
    check_matches(cache_of([], 4).root, [[1, 2, 3, 4], []], 4)
    tree, _ = radix_ops.flatten(cache_of([[1]], 1).root)
    empty = torch.empty(0, 5, dtype=torch.int64, device=DEVICE)
    assert api.match_prefixes(tree.to(DEVICE), empty, [], backend=BACKEND).lengths.shape == (0,)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_random_trees(data):
    """Within the contract: few different tokens, so that paths split often; any page size."""
    page_size = data.draw(st.sampled_from([1, 2, 3]))
    prompt = st.lists(st.integers(0, 2), max_size=14)
    prompts, queries = (data.draw(st.lists(prompt, max_size=8)), data.draw(st.lists(prompt, min_size=1, max_size=6)))
    check_matches(cache_of(prompts, page_size).root, queries, page_size)


def ages_of(cache):
    """What choose_victims gets of a cache, and the nodes by number."""
    _, nodes = radix_ops.flatten(cache.root, cache.page_size)
    last_used = torch.tensor([node.payload.last_used for node in nodes], device=DEVICE)
    sizes = torch.tensor([len(node.edge) for node in nodes], device=DEVICE)
    evictable = torch.tensor([n.parent is not None and n.payload.lock_count == 0 for n in nodes], device=DEVICE)
    return last_used, sizes, evictable, nodes


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_victims_are_those_of_the_cache(data):
    """Catches a parent that goes before its child, a locked path that goes, and one leaf too many or too few."""
    prompt = st.lists(st.integers(0, 2), min_size=1, max_size=9)
    cache = cache_of(data.draw(st.lists(prompt, min_size=1, max_size=12)), 1)
    for query in data.draw(st.lists(prompt, max_size=5)):
        match = cache.match(query)
        if match.length and data.draw(st.booleans()):
            cache.lock(match.node)
    num_tokens = data.draw(st.integers(0, 30))
    *ages, nodes = ages_of(cache)
    results = [
        BY_TORCH.choose_victims(*ages, num_tokens),
        kernels().choose_victims(*ages, num_tokens),
        api.choose_victims(*ages, num_tokens, backend=BACKEND),
    ]
    slots = [[int(s) for v in result.tolist() for s in nodes[v].payload.pages] for result in results]
    freed = cache.evict(num_tokens).tolist()
    assert slots == [freed] * 3


@pytest.mark.parametrize("num_nodes", [1, 31, 33, 1500])
def test_victims_among_equals_and_at_the_limits(num_nodes):
    """Among equally old nodes the higher number goes first; nothing, everything, and more than there is."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    last_used = torch.randint(0, 4, (num_nodes,), generator=generator).to(DEVICE)
    sizes = torch.randint(1, 9, (num_nodes,), generator=generator).to(DEVICE)
    evictable = (torch.rand(num_nodes, generator=generator) < 0.8).to(DEVICE)
    total = int(sizes[evictable].sum())
    for num_tokens in (0, 1, total // 2, max(0, total - 1), total, total + 5):
        wanted = sorted(evictable.nonzero().flatten().tolist(), key=lambda n: (int(last_used[n]), -n))
        freed, count = 0, 0
        while freed < num_tokens and count < len(wanted):
            freed += int(sizes[wanted[count]])
            count += 1
        got = kernels().choose_victims(last_used, sizes, evictable, num_tokens)
        assert got.tolist() == wanted[:count]
        assert BY_TORCH.choose_victims(last_used, sizes, evictable, num_tokens).tolist() == wanted[:count]


def test_what_does_not_fit_is_refused():
    """Catches tokens of 32 bits read as 64, lengths beyond the row, and ticks that run into a node's number."""
    tree, _ = radix_ops.flatten(cache_of([[1, 2]], 1).root)
    tree, rows = tree.to(DEVICE), torch.zeros(2, 3, dtype=torch.int64, device=DEVICE)
    for backend in ("torch", BACKEND):
        for call, message in (
            (lambda b: api.match_prefixes(tree, rows.int(), [1, 1], backend=b), "tokens must be int64"),
            (lambda b: api.match_prefixes(tree, rows, [1, 4], backend=b), "lengths must lie in"),
            (lambda b: api.match_prefixes(tree, rows, [1], backend=b), "lengths must be 2"),
            (lambda b: api.choose_victims(rows[0], rows[1], rows[0] == 0, -1, backend=b), "at least 0"),
            (lambda b: api.choose_victims(rows[0], rows[1], rows[0], 1, backend=b), "evictable must be bool"),
        ):
            with pytest.raises(ValueError, match=message):
                call(backend)
    late = torch.full((3,), 2**61, device=DEVICE)
    with pytest.raises(api.BackendError, match="ticks below"):
        api.choose_victims(late, late, late > 0, 1, backend=BACKEND)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the emulator counts; on a GPU a profiler does")
def test_a_warp_reads_side_by_side():
    """The header says so: a thread for each row costs up to 32 sectors for a request, a warp for each row 8."""
    prompt = torch.randint(0, 9, (256,)).tolist()
    tree, _ = radix_ops.flatten(cache_of([prompt], 1).root)
    rows, lengths = as_rows([prompt] * 32)
    most = {}
    for rung in RUNGS:
        kernels(rung).match_prefixes(tree, rows, lengths)
        lines = kernels(rung).module("radix_ops/match_prefixes.cu").profile().lines
        most[rung] = max(line.sectors_per_request for line in lines if "a[" in line.source and line.requests > 100)
    assert most[1] > 16
    assert 7 < most[2] <= 8  # the first page of a child is one token, and one sector
