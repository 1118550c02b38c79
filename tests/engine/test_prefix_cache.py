import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from yaie.engine.prefix_cache import POLICIES, PrefixCache, Span
from yaie.kernels import radix_tree
from yaie.kernels.radix_tree import Node


def filled(*prompts: list[int], page_size: int = 1, policy: str = "lru") -> PrefixCache:
    """A cache with the prompts inserted in turn; the token at place i of prompt p lies in slot 100 * p + i."""
    cache = PrefixCache(page_size, policy)
    for p, prompt in enumerate(prompts):
        cache.insert(prompt, range(100 * p, 100 * p + len(prompt)))
    cache.check_integrity()
    return cache


def sizes(cache: PrefixCache) -> tuple[int, int, int]:
    cache.check_integrity()
    return cache.evictable_size, cache.protected_size, cache.total_size


def found(cache: PrefixCache, tokens: list[int], namespace=None) -> list[int]:
    match = cache.match(tokens, namespace)
    assert match.length == len(match.slots)
    return match.slots.tolist()


# Match and insert


def test_an_empty_cache_matches_nothing():
    """Would catch a miss that is no match, so that the caller has to ask before it can lock."""
    cache = PrefixCache()
    match = cache.match([1, 2])
    assert (match.length, match.slots.tolist()) == (0, [])
    cache.lock(match.node)
    cache.unlock(match.node)
    assert sizes(cache) == (0, 0, 0)


def test_partial_match_inside_an_edge():
    """Would catch a match that takes an edge whole or not at all, and a node that stands for more than was matched."""
    cache = filled([1, 2, 3, 4])
    match = cache.match([1, 2, 9])
    assert (match.length, match.slots.tolist()) == (2, [0, 1])
    cache.lock(match.node)
    assert sizes(cache) == (2, 2, 4)


def test_insert_of_a_prefix():
    """Would catch a prefix that is stored again, or whose slots replace those that others read."""
    cache = filled([1, 2, 3, 4])
    assert cache.insert([1, 2], [50, 51]) == 2
    assert found(cache, [1, 2, 3, 4]) == [0, 1, 2, 3]
    assert sizes(cache) == (4, 0, 4)


def test_insert_of_an_extension():
    """Would catch an extension that is told to be new from its first token, or whose slots are off by the prefix."""
    cache = filled([1, 2])
    assert cache.insert([1, 2, 3], [0, 1, 7]) == 2
    assert found(cache, [1, 2, 3]) == [0, 1, 7]
    assert sizes(cache) == (3, 0, 3)


def test_duplicates_are_told_to_the_caller():
    """Would catch lost slots: who inserts what is there already must learn it, to free its own."""
    cache = filled([1, 2, 3, 4])
    assert cache.insert([1, 2, 3, 4], [50, 51, 52, 53]) == 4
    assert cache.insert([1, 2, 8], [60, 61, 62]) == 2
    assert found(cache, [1, 2, 8]) == [0, 1, 62]
    assert sizes(cache) == (5, 0, 5)


@pytest.mark.parametrize(("num_tokens", "page_size", "aligned"), [(5, 2, 4), (6, 4, 4), (1, 5, 0)])
def test_lengths_are_whole_pages(num_tokens, page_size, aligned):
    """Would catch a page that is shared while only a part of it is filled."""
    cache = filled(list(range(num_tokens)), page_size=page_size)
    assert sizes(cache) == (aligned, 0, aligned)
    assert found(cache, list(range(num_tokens))) == list(range(aligned))
    assert cache.insert(range(num_tokens), range(50, 50 + num_tokens)) == aligned


def test_a_match_ends_between_pages():
    """Would catch a prefix that ends in the middle of a page, and children told apart by one token."""
    cache = filled([1, 2, 3, 4], [1, 9, 3, 4], page_size=2)
    assert found(cache, [1, 2, 3, 9]) == [0, 1]
    assert found(cache, [1, 9, 3, 4]) == [100, 101, 102, 103]
    assert found(cache, [1, 7]) == []
    assert sizes(cache) == (8, 0, 8)


def test_block_table_from_slots():
    """Would catch slots that are counted per page, from which block tables would be wrong."""
    cache = PrefixCache(page_size=4)
    cache.insert(range(8), [12, 13, 14, 15, 4, 5, 6, 7])
    assert (cache.match(range(8)).slots[::4] // 4).tolist() == [3, 1]


def test_an_exact_repeat_leaves_the_last_token():
    """Would catch a full hit at admission: a query of length 0 has no logits. With pages it is the last page."""
    for page_size, reused in ((1, 7), (4, 4)):
        prompt = list(range(8))
        cache = filled(prompt, page_size=page_size)
        assert cache.match(prompt[:-1]).length == reused
        assert cache.match(prompt).length == len(prompt)


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor], ids=["list", "tuple", "numpy", "torch"])
def test_the_callers_data_are_copied(make):
    """Would catch a cache that changes when the caller reuses its buffers, and one that hands out its own memory."""
    tokens, slots = make([1, 2, 3]), make([4, 5, 6])
    cache = PrefixCache()
    cache.insert(tokens, slots)
    if make is not tuple:
        tokens[0], slots[0] = 9, 9
    cache.match([1, 2, 3]).slots[:] = 0
    assert found(cache, [1, 2, 3]) == [4, 5, 6]


def test_namespaces_isolate():
    """Would catch KV of one adapter that is handed to another, and a namespace that stays when it is empty."""
    cache = PrefixCache()
    assert cache.insert([1, 2], [0, 1]) == 0
    assert cache.insert([1, 2], [10, 11], namespace="adapter") == 0
    assert found(cache, [1, 2]) == [0, 1]
    assert found(cache, [1, 2], "adapter") == [10, 11]
    assert found(cache, [1, 2], "other") == []
    assert cache.match([1, 2], "other").node is cache.root
    assert sizes(cache) == (4, 0, 4)
    assert sorted(cache.evict(4).tolist()) == [0, 1, 10, 11]
    assert sizes(cache) == (0, 0, 0)
    assert list(cache._roots) == [None]


# Locks


def test_split_while_locked_keeps_locks_and_sizes():
    """Would catch an upper half without the lock: it could be evicted while a request reads it."""
    cache = filled([1, 2, 3, 4])
    locked = cache.match([1, 2, 3, 4]).node
    cache.lock(locked)
    assert sizes(cache) == (0, 4, 4)
    cache.insert([1, 2, 9], [0, 1, 7])  # splits the locked edge
    assert sizes(cache) == (1, 4, 5)
    assert cache.evict(100).tolist() == [7]
    assert found(cache, [1, 2, 3, 4]) == [0, 1, 2, 3]
    cache.unlock(locked)
    assert sizes(cache) == (4, 0, 4)
    assert sorted(cache.evict(100).tolist()) == [0, 1, 2, 3]


def test_locks_are_counted():
    """Would catch a lock that is a flag: the first of two requests to finish would free what the second reads."""
    cache = filled([1, 2])
    node = cache.match([1, 2]).node
    cache.lock(node)
    cache.lock(node)
    cache.unlock(node)
    assert sizes(cache) == (0, 2, 2)
    assert len(cache.evict(2)) == 0
    cache.unlock(node)
    assert sizes(cache) == (2, 0, 2)


def test_a_lock_protects_the_whole_path():
    """Would catch a lock on one node only: its ancestors are read too. What hangs beside it is free to go."""
    cache = filled([1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 3, 5])
    node = cache.match([1, 2, 3]).node
    cache.lock(node)
    assert sizes(cache) == (2, 3, 5)
    assert sorted(cache.evict(100).tolist()) == [202, 303]
    assert found(cache, [1, 2, 3, 5]) == [0, 1, 102]


def test_a_locked_path_survives_an_eviction_that_wants_everything():
    """Would catch an eviction that takes locked nodes when nothing else is left."""
    cache = filled([1, 2, 3], [1, 2, 4], [5])
    node = cache.match([1, 2, 3]).node
    cache.lock(node)
    assert sorted(cache.evict(10**9).tolist()) == [102, 200]
    assert sizes(cache) == (0, 3, 3)
    assert found(cache, [1, 2, 3]) == [0, 1, 2]


# Eviction


def test_lru_order():
    """Would catch an order by insertion: the oldest was used last, so it goes last."""
    cache = filled([1, 1], [2, 2], [3, 3])
    cache.match([1, 1])
    assert [cache.evict(1).tolist() for _ in range(4)] == [[100, 101], [200, 201], [0, 1], []]


def test_an_insert_is_a_use():
    """Would catch ages that only a match renews: what was published again is in use."""
    cache = filled([1, 1], [2, 2])
    cache.insert([1, 1], [50, 51])
    assert cache.evict(1).tolist() == [100, 101]


def test_lfu_order():
    """Would catch an LFU that is LRU, because nobody counts the hits: the most used was used first."""
    cache = filled([1], [2], [3], policy="lfu")
    for token in (1, 1, 1, 2, 2, 3):
        cache.match([token])
    assert [cache.evict(1).tolist() for _ in range(3)] == [[200], [100], [0]]


def test_lfu_breaks_ties_by_age():
    """Would catch an order among equals that depends on how the queue happens to lie."""
    cache = filled([1], [2], [3], policy="lfu")
    for token in (2, 3, 1):
        cache.match([token])
    assert [cache.evict(1).tolist() for _ in range(3)] == [[100], [200], [0]]


def test_fifo_order():
    """Would catch a FIFO that looks at uses."""
    cache = filled([1], [2], [3], policy="fifo")
    for token in (1, 1, 2):
        cache.match([token])
    assert [cache.evict(1).tolist() for _ in range(3)] == [[0], [100], [200]]


def test_a_split_keeps_the_hits():
    """Would catch an upper half that starts counting anew: here it would go before [9], which was used less."""
    cache = filled([1, 2, 3], [9], policy="lfu")
    for prompt, times in (([1, 2, 3], 3), ([1, 2], 2), ([9], 4)):
        for _ in range(times):
            cache.match(prompt)
    assert [cache.evict(1).tolist() for _ in range(3)] == [[2], [100], [0, 1]]


def test_a_split_keeps_the_time_of_creation():
    """Would catch an upper half that counts as older than what was there before it."""
    cache = filled([9], [1, 2, 3], policy="fifo")
    node = cache.match([9]).node
    cache.lock(node)
    cache.match([1, 2])
    assert cache.evict(1).tolist() == [102]
    cache.unlock(node)
    assert [cache.evict(1).tolist() for _ in range(2)] == [[0], [100, 101]]


def test_a_split_span_is_as_old_as_used_and_as_locked():
    """Would catch a half that forgets one of them, or takes over a place in the queue that it does not have."""
    lower = Span(np.array([5, 6, 7]), created=1, last_used=2, lock_count=3, hits=4, queued=True)
    upper = lower.split(1)
    assert (upper.slots.tolist(), lower.slots.tolist()) == ([5], [6, 7])
    for span in (upper, lower):
        assert (span.created, span.last_used, span.lock_count, span.hits) == (1, 2, 3, 4)
    assert (upper.queued, lower.queued) == (False, True)


def test_what_stays_after_a_split_does_not_hold_the_memory_of_what_went():
    """Would catch an upper half that is a view: a short prefix would keep every long edge it was once cut from."""
    cache = filled(list(range(1, 100)), [1, 2, 200])
    cache.evict(98)
    (node,) = cache.root.children.values()
    assert (node.edge.tolist(), node.payload.slots.tolist()) == ([1, 2], [0, 1])
    assert (node.edge.base, node.payload.slots.base) == (None, None)


def test_evicting_a_leaf_makes_its_parent_evictable():
    """Would catch an eviction that ends with the first generation of leaves, and one that takes a parent first."""
    cache = filled([1, 2], [1, 2, 3], [1, 2, 4])
    assert cache.evict(3).tolist() == [102, 202, 0, 1]
    assert sizes(cache) == (0, 0, 0)


def test_a_parent_does_not_jump_the_queue():
    """Would catch evicting a branch to its root before older leaves elsewhere."""
    cache = filled([1], [2, 2], [2, 2, 3])  # the parent [2 2] was used by the third insert, after [1]
    cache.insert([2, 2, 3], [100, 101, 202])
    cache.insert([1], [0])
    assert [cache.evict(1).tolist() for _ in range(3)] == [[202], [100, 101], [0]]
    cache = filled([2, 2], [2, 2, 3], [1])
    cache.match([2, 2])
    assert [cache.evict(1).tolist() for _ in range(3)] == [[102], [200], [0, 1]]


def test_eviction_stops_when_it_has_enough():
    """Would catch an eviction that takes everything, or that stops short of what was asked."""
    cache = filled([1] * 4, [2] * 4, [3] * 4)
    assert cache.evict(0).tolist() == []
    assert len(cache.evict(5)) == 8
    assert sizes(cache) == (4, 0, 4)
    assert len(cache.evict(5)) == 4
    assert len(cache.evict(5)) == 0


def test_slots_come_back_as_int64_even_when_there_are_none():
    """Would catch an empty float array, which no index operation takes."""
    cache = filled([1])
    for slots in (cache.match([7]).slots, cache.match([1]).slots, cache.evict(0), cache.evict(1), cache.evict(1)):
        assert slots.dtype == np.int64


def test_unlocking_puts_a_leaf_back_into_the_queue():
    """Would catch a leaf that was locked when the eviction passed it, and is never looked at again."""
    cache = filled([1, 2])
    node = cache.match([1, 2]).node
    cache.lock(node)
    assert len(cache.evict(1)) == 0
    cache.unlock(node)
    assert cache.evict(1).tolist() == [0, 1]


def test_the_queue_does_not_grow_with_use():
    """Would catch a queue with an entry per use, in a server that never has to evict."""
    cache = filled([1], [2])
    for _ in range(50):
        node = cache.match([1]).node
        cache.lock(node)
        cache.unlock(node)
    assert len(cache._queue) == 2


# Bad input


def dump(cache: PrefixCache) -> list:
    """All that a cache knows, to see that nothing changed."""
    nodes = [n for root in cache._roots.values() for n in radix_tree.iter_nodes(root)]
    facts = [(n, n.edge.tolist(), n.payload.slots.tolist(), n.payload.lock_count, n.payload.last_used) for n in nodes]
    return [facts, sizes(cache), cache._clock, list(cache._roots), dict(cache._holders), list(cache._queue)]


def evicted_node() -> Node:
    cache = filled([1])
    node = cache.match([1]).node
    cache.evict(1)
    return node


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.match([1, 2.5]), TypeError, "tokens must be integers"),
        (lambda c: c.match("abc"), ValueError, "tokens must be a flat sequence"),
        (lambda c: c.match([1], namespace=[]), TypeError, r"namespace must be hashable, got list: \[\]"),
        (lambda c: c.insert([1, 2], [3]), ValueError, "one slot per token, got 2 tokens and 1 slots"),
        (lambda c: c.insert([1, "x"], [3, 4]), TypeError, "tokens must be integers"),
        (lambda c: c.insert([1, 2], [3, 4.5]), TypeError, "slots must be integers"),
        (lambda c: c.insert([5, 6], [3, -1]), ValueError, "slots must be >= 0, got -1"),
        (lambda c: c.insert([5], [3], namespace={}), TypeError, "namespace must be hashable, got dict"),
        (lambda c: c.lock("req1"), TypeError, "expected a node, as in match.*got str"),
        (lambda c: c.lock(evicted_node()), ValueError, "not in this cache: it was evicted, or it belongs to another"),
        (lambda c: c.lock(PrefixCache().root), ValueError, "not in this cache"),
        (lambda c: c.unlock(None), TypeError, "got NoneType"),
        (lambda c: c.unlock(evicted_node()), ValueError, "not in this cache"),
        (lambda c: c.unlock(c.root.children[(5,)]), ValueError, "not locked"),
        (lambda c: c.unlock(c.root.children[(1,)]), ValueError, "not locked"),  # but a lock below passes through it
        (lambda c: c.evict(-1), ValueError, "num_tokens must be >= 0, got -1"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, error, message):
    """Would catch a failed call that has locked, split, aged or counted something before it failed."""
    cache = filled([1, 2], [1, 3], [5])
    cache.lock(cache.match([1, 2]).node)
    before = dump(cache)
    with pytest.raises(error, match=message):
        call(cache)
    assert dump(cache) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"page_size": 0}, "page_size must be an int >= 1, got 0"),
        ({"page_size": 2.0}, "page_size must be an int >= 1, got 2.0"),
        ({"page_size": True}, "page_size must be an int >= 1, got True"),
        ({"policy": "mru"}, "policy must be one of lru, lfu, fifo, got 'mru'"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    """Would catch a cache that is made and fails at its first use."""
    with pytest.raises(ValueError, match=message):
        PrefixCache(**arguments)


def test_check_integrity_sees_damage():
    """Would catch a check that cannot fail."""

    def lose_a_slot(cache):
        cache.root.children[(1,)].payload.slots = np.array([0])

    def share_a_slot(cache):
        cache.root.children[(2,)].payload.slots = np.array([0])

    def lose_a_lock(cache):
        cache.root.children[(1,)].payload.lock_count = 0

    def lose_count(cache):
        cache._total_size += 1

    def lose_a_leaf(cache):
        cache._queue.clear()

    def lose_a_node(cache):
        del cache.root.children[(1,)]

    for damage in (lose_a_slot, share_a_slot, lose_a_lock, lose_count, lose_a_leaf, lose_a_node):
        cache = filled([1, 1], [2])
        cache.lock(cache.match([1, 1]).node)
        cache.check_integrity()
        damage(cache)
        with pytest.raises(RuntimeError):
            cache.check_integrity()


# Against a naive model


class NaiveCache:
    """The same cache without a tree: a dict from (namespace, tokens up to the end of a page) to that page."""

    def __init__(self, page_size, policy):
        self.page_size, self.policy = page_size, policy
        self.pages, self.locks, self.clock = {}, [], 0

    def keys(self, tokens, namespace):
        ends = range(self.page_size, len(tokens) + 1, self.page_size)
        return [(namespace, tuple(tokens[:end])) for end in ends]

    def present(self, tokens, namespace):
        return [key for key in self.keys(tokens, namespace) if key in self.pages]

    def match(self, tokens, namespace):
        self.clock += 1
        present = self.present(tokens, namespace)
        for key in present:
            self.pages[key].update(last_used=self.clock, hits=self.pages[key]["hits"] + 1)
        return [slot for key in present for slot in self.pages[key]["slots"]]

    def insert(self, tokens, slots, namespace):
        self.clock += 1
        present = len(self.present(tokens, namespace))
        for i, key in enumerate(self.keys(tokens, namespace)):
            if i >= present:
                page_slots = list(slots[i * self.page_size : (i + 1) * self.page_size])
                self.pages[key] = {"slots": page_slots, "created": self.clock, "hits": 0}
            self.pages[key]["last_used"] = self.clock
        return present * self.page_size

    def is_locked(self, key):
        return any(ns == key[0] and tokens[: len(key[1])] == key[1] for ns, tokens in self.locks)

    def evict_page(self):
        """The slots of the page that goes next: unlocked, no page goes on from it, and the policy's first."""

        def priority(key):
            page = self.pages[key]
            return {"lru": (page["last_used"],), "lfu": (page["hits"], page["last_used"]), "fifo": (page["created"],)}[
                self.policy
            ]

        parents = {(ns, tokens[: -self.page_size]) for ns, tokens in self.pages}
        key = min((k for k in self.pages if k not in parents and not self.is_locked(k)), key=priority)
        return self.pages.pop(key)["slots"]


class CacheMachine(RuleBasedStateMachine):
    """Any sequence of calls on a cache and on the naive one, which must agree after each."""

    page_size, policy = 1, "lru"
    prompts = st.lists(st.integers(0, 1), max_size=9)
    namespaces = st.sampled_from([None, None, "adapter"])

    def __init__(self):
        super().__init__()
        self.cache = PrefixCache(self.page_size, self.policy)
        self.model = NaiveCache(self.page_size, self.policy)
        self.locked: list[Node] = []
        self.next_slot = 0

    @rule(tokens=prompts, namespace=namespaces)
    def match(self, tokens, namespace):
        assert found(self.cache, tokens, namespace) == self.model.match(tokens, namespace)

    @rule(tokens=prompts, namespace=namespaces)
    def insert(self, tokens, namespace):
        slots = range(self.next_slot, self.next_slot + len(tokens))
        self.next_slot += len(tokens)
        assert self.cache.insert(tokens, slots, namespace) == self.model.insert(tokens, slots, namespace)

    @rule(tokens=prompts, namespace=namespaces)
    def match_and_lock(self, tokens, namespace):
        match = self.cache.match(tokens, namespace)
        assert match.slots.tolist() == self.model.match(tokens, namespace)
        self.cache.lock(match.node)
        self.locked.append(match.node)
        self.model.locks.append((namespace, tuple(tokens[: match.length])))

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def unlock(self, data):
        i = data.draw(st.integers(0, len(self.locked) - 1))
        self.cache.unlock(self.locked.pop(i))
        self.model.locks.pop(i)

    @rule(num_tokens=st.integers(0, 12))
    def evict(self, num_tokens):
        evictable = self.cache.evictable_size
        freed = self.cache.evict(num_tokens)
        assert len(freed) >= min(num_tokens, evictable)
        expected = [slot for _ in range(len(freed) // self.page_size) for slot in self.model.evict_page()]
        assert sorted(freed.tolist()) == sorted(expected)

    @invariant()
    def agrees(self):
        protected = sum(self.page_size for key in self.model.pages if self.model.is_locked(key))
        total = len(self.model.pages) * self.page_size
        assert sizes(self.cache) == (total - protected, protected, total)


def cache_machine(page_size: int, policy: str) -> type[CacheMachine]:
    machine = type(f"CacheMachine_{policy}_{page_size}", (CacheMachine,), {"page_size": page_size, "policy": policy})
    machine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
    return machine


MACHINES = [cache_machine(*setting) for setting in ((1, "lru"), (3, "lru"), (1, "lfu"), (2, "lfu"), (1, "fifo"))]
TestLru, TestLruPages, TestLfu, TestLfuPages, TestFifo = [machine.TestCase for machine in MACHINES]


def test_every_policy_is_run_against_the_model():
    """Would catch a policy that is added and never tested."""
    assert {machine.policy for machine in MACHINES} == set(POLICIES)


# End to end: requests, a pool, and KV that says whose it is


class TinyEngine:
    """Runs requests through a cache as the top of `prefix_cache.py` says. The KV of a token is all tokens up to it, so
    a page table that points at anything else shows.
    """

    def __init__(self, num_pages: int, page_size: int):
        self.page_size = page_size
        self.cache = PrefixCache(page_size)
        self.free_pages = list(range(num_pages))
        self.kv = [None] * (num_pages * page_size)
        self.running: dict[str, dict] = {}

    def free(self, slots):
        """Back to the pool, and whoever still reads them reads nonsense."""
        for page in dict.fromkeys(int(slot) // self.page_size for slot in slots):
            assert page not in self.free_pages, f"page {page} is freed twice"
            self.free_pages.append(page)
            self.kv[page * self.page_size : (page + 1) * self.page_size] = [None] * self.page_size

    def admit(self, name: str, tokens: list[int]) -> bool:
        hit = self.cache.match(tokens[:-1])
        assert hit.length < len(tokens), "a token must be left to forward"
        self.cache.lock(hit.node)
        need = -(-(len(tokens) - hit.length) // self.page_size)
        if need > len(self.free_pages):
            self.free(self.cache.evict((need - len(self.free_pages)) * self.page_size))
        if need > len(self.free_pages):
            self.cache.unlock(hit.node)
            return False
        pages = [self.free_pages.pop() for _ in range(need)]
        private = [page * self.page_size + i for page in pages for i in range(self.page_size)]
        table = [*hit.slots.tolist(), *private][: len(tokens)]
        for i in range(hit.length, len(tokens)):
            self.kv[table[i]] = tuple(tokens[: i + 1])
        self.running[name] = {"tokens": tokens, "table": table, "node": hit.node, "cached": hit.length}
        return True

    def publish(self, name: str) -> None:
        request = self.running[name]
        present = self.cache.insert(request["tokens"], request["table"])
        whole = self.cache.match(request["tokens"])
        self.cache.lock(whole.node)
        self.cache.unlock(request["node"])
        duplicates = request["table"][request["cached"] : present]
        request["table"][: whole.length] = whole.slots.tolist()
        request["node"], request["cached"] = whole.node, whole.length
        self.free(duplicates)

    def finish(self, name: str) -> None:
        request = self.running.pop(name)
        self.cache.unlock(request["node"])
        self.free(request["table"][request["cached"] :])

    def check(self) -> None:
        """Every running request reads its own KV, and every page of the pool is somewhere, once."""
        self.cache.check_integrity()
        private = set()
        for name, request in self.running.items():
            read = [self.kv[slot] for slot in request["table"]]
            assert read == [tuple(request["tokens"][: i + 1]) for i in range(len(read))], f"{name} reads other KV"
            pages = {slot // self.page_size for slot in request["table"][request["cached"] :]}
            assert not pages & private
            private |= pages
        in_cache = self.cache.evictable_size + self.cache.protected_size
        assert len(self.free_pages) * self.page_size + in_cache + len(private) * self.page_size == len(self.kv)


@pytest.mark.parametrize("page_size", [1, 2, 4])
def test_twins_admitted_together_never_read_freed_slots(page_size):
    """Would catch the page table of a second request with the same prompt that keeps pointing at its duplicates."""
    engine = TinyEngine(num_pages=64, page_size=page_size)
    prompt = list(range(10))
    for name in ("first", "twin"):
        assert engine.admit(name, prompt)
    for name in ("first", "twin"):
        engine.publish(name)
        engine.check()
    aligned = len(prompt) - len(prompt) % page_size
    assert engine.running["first"]["table"][:aligned] == engine.running["twin"]["table"][:aligned]
    assert engine.admit("other", [50] * 10), "the freed pages are given to somebody else"
    engine.check()
    for name in ("first", "twin", "other"):
        engine.finish(name)
    engine.check()
    assert engine.cache.protected_size == 0


def test_an_exact_repeat_computes_only_its_last_token():
    """Would catch a repeat that computes everything again, or nothing at all."""
    engine = TinyEngine(num_pages=64, page_size=1)
    for name in ("first", "again"):
        assert engine.admit(name, [1, 2, 3, 4, 5])
        computed = 5 - engine.running[name]["cached"]
        assert computed == {"first": 5, "again": 1}[name]
        engine.publish(name)
        engine.finish(name)
        engine.check()
    assert len(engine.free_pages) == 64 - 5, "the repeat's page is back in the pool"


class ServingMachine(RuleBasedStateMachine):
    """Requests come, publish and go in any order in a pool that is too small: nobody ever reads another's KV."""

    page_size = 1

    def __init__(self):
        super().__init__()
        self.engine = TinyEngine(num_pages=16 // self.page_size, page_size=self.page_size)
        self.num_requests = 0

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=8))
    def admit(self, tokens):
        self.num_requests += 1
        self.engine.admit(f"request {self.num_requests}", tokens)

    @precondition(lambda self: self.engine.running)
    @rule(data=st.data(), then=st.sampled_from(["publish", "finish"]))
    def go_on(self, data, then):
        name = data.draw(st.sampled_from(sorted(self.engine.running)))
        getattr(self.engine, then)(name)

    @invariant()
    def nobody_reads_what_is_not_theirs(self):
        self.engine.check()

    def teardown(self):
        for name in list(self.engine.running):
            self.engine.finish(name)
        self.engine.check()
        self.engine.free(self.engine.cache.evict(10**6))
        assert len(self.engine.free_pages) == 16 // self.page_size


class PagedServingMachine(ServingMachine):
    page_size = 2


TestServing = ServingMachine.TestCase
TestPagedServing = PagedServingMachine.TestCase
TestServing.settings = TestPagedServing.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
