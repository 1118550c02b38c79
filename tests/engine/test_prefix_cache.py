import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from yaie.engine.prefix_cache import POLICIES, KeepsNothing, PrefixCache, Span
from yaie.kernels import radix_tree
from yaie.kernels.radix_tree import Node


def filled(*prompts: list[int], page_size: int = 1, policy: str = "lru") -> PrefixCache:
    """A cache with the prompts inserted in turn; page i of prompt p lies in page 100 * p + i of the pool."""
    cache = PrefixCache(page_size, policy)
    for p, prompt in enumerate(prompts):
        cache.insert(prompt, range(100 * p, 100 * p + len(prompt) // page_size))
    cache.check_integrity()
    return cache


def sizes(cache: PrefixCache) -> tuple[int, int, int]:
    cache.check_integrity()
    return cache.evictable_size, cache.protected_size, cache.total_size


def found(cache: PrefixCache, tokens: list[int]) -> list[int]:
    match = cache.match(tokens)
    assert match.length == len(match.pages) * cache.page_size
    return match.pages.tolist()


# Match and insert


def test_an_empty_cache_matches_nothing():
    """Would catch a miss that is no match, so that the caller has to ask before it can lock."""
    cache = PrefixCache()
    match = cache.match([1, 2])
    assert (match.length, match.pages.tolist()) == (0, [])
    cache.lock(match.node)
    cache.unlock(match.node)
    assert sizes(cache) == (0, 0, 0)


def test_partial_match_inside_an_edge():
    """Would catch a match that takes an edge whole or not at all, and a node that stands for more than was matched."""
    cache = filled([1, 2, 3, 4])
    match = cache.match([1, 2, 9])
    assert (match.length, match.pages.tolist()) == (2, [0, 1])
    cache.lock(match.node)
    assert sizes(cache) == (2, 2, 4)


def test_insert_of_a_prefix():
    """Would catch a prefix that is stored again, or whose pages replace those that others read."""
    cache = filled([1, 2, 3, 4])
    assert cache.insert([1, 2], [50, 51]).present == 2
    assert found(cache, [1, 2, 3, 4]) == [0, 1, 2, 3]
    assert sizes(cache) == (4, 0, 4)


def test_insert_of_an_extension():
    """Would catch an extension that is told to be new from its first token, or whose pages are off by the prefix."""
    cache = filled([1, 2])
    assert cache.insert([1, 2, 3], [0, 1, 7]).present == 2
    assert found(cache, [1, 2, 3]) == [0, 1, 7]
    assert sizes(cache) == (3, 0, 3)


def test_duplicates_are_told_to_the_caller():
    """Would catch lost pages: who inserts what is there already must learn it, to free its own and read the others."""
    cache = filled([1, 2, 3, 4])
    present, length, node = cache.insert([1, 2, 3, 4], [50, 51, 52, 53])
    assert (present, length, cache.pages_to(node).tolist()) == (4, 4, [0, 1, 2, 3])
    present, length, node = cache.insert([1, 2, 8], [60, 61, 62])
    assert (present, length, cache.pages_to(node).tolist()) == (2, 3, [0, 1, 62])
    assert radix_tree.tokens_to(node).tolist() == [1, 2, 8]
    assert found(cache, [1, 2, 8]) == [0, 1, 62]
    assert sizes(cache) == (5, 0, 5)


@pytest.mark.parametrize(("num_tokens", "page_size", "aligned"), [(5, 2, 4), (6, 4, 4), (1, 5, 0)])
def test_lengths_are_whole_pages(num_tokens, page_size, aligned):
    """Would catch a page that is shared while only a part of it is filled."""
    num_pages = aligned // page_size
    cache = filled(list(range(num_tokens)), page_size=page_size)
    assert sizes(cache) == (num_pages, 0, num_pages)
    assert found(cache, list(range(num_tokens))) == list(range(num_pages))
    for also_the_last in (0, 1):  # a block table names the page that is not full, too
        pages = range(50, 50 + num_pages + also_the_last)
        assert cache.insert(range(num_tokens), pages)[:2] == (aligned, aligned)


def test_a_match_ends_between_pages():
    """Would catch a prefix that ends in the middle of a page, and children told apart by one token."""
    cache = filled([1, 2, 3, 4], [1, 9, 3, 4], page_size=2)
    assert found(cache, [1, 2, 3, 9]) == [0]
    assert found(cache, [1, 9, 3, 4]) == [100, 101]
    assert found(cache, [1, 7]) == []
    assert sizes(cache) == (4, 0, 4)


def test_sizes_and_evictions_count_pages():
    """Would catch a size or an eviction that counts tokens: it would free a quarter of what is needed."""
    cache = filled(list(range(8)), list(range(50, 54)), page_size=4)
    assert sizes(cache) == (3, 0, 3)
    node = cache.match(range(4)).node  # splits
    cache.lock(node)
    assert sizes(cache) == (2, 1, 3)
    assert cache.evict(2).tolist() == [1, 100]
    assert sizes(cache) == (0, 1, 1)


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
    tokens, pages = make([1, 2, 3]), make([4, 5, 6])
    cache = PrefixCache()
    cache.insert(tokens, pages)
    if make is not tuple:
        tokens[0], pages[0] = 9, 9
    cache.match([1, 2, 3]).pages[:] = 0
    cache.pages_to(cache.match([1, 2, 3]).node)[:] = 0
    assert found(cache, [1, 2, 3]) == [4, 5, 6]


def test_a_look_changes_nothing(dump):
    """Would catch a question whose answer nobody uses that splits an edge, or makes its tokens look used."""
    cache = filled([1, 2, 3, 4, 5, 6], [9, 9], page_size=2)
    cache.lock(cache.match([9, 9]).node)
    before = dump(cache)
    assert cache.find([1, 2, 3, 9])[1:] == (2, 2)
    assert cache.find([7]).length == 0
    assert cache.num_unlocked(cache.find([1, 2, 3, 4, 9])) == 2
    assert cache.num_unlocked(cache.find([9, 9, 1])) == 0
    assert cache.first_missing([1, 2, 3, 9]) == 4
    assert dump(cache) == before


@pytest.mark.parametrize("tokens", [[1, 2], [1, 2, 3], [1, 2, 3, 4, 9], [1, 2, 5], [9], []])
def test_what_a_lock_will_protect_is_known_before(tokens):
    """Would catch an admission that counts on evicting the pages which it is about to reuse."""
    cache = filled([1, 2, 3, 4], [1, 2, 5, 6], [1, 2, 5, 7])
    cache.lock(cache.match([1, 2, 5]).node)
    expected, before = cache.num_unlocked(cache.find(tokens)), cache.evictable_size
    cache.lock(cache.match(tokens).node)
    assert before - cache.evictable_size == expected


def test_a_publication_is_no_hit():
    """Would catch a long prompt that makes itself popular, because every chunk of it is published."""
    cache = filled([1], [2, 3, 4], policy="lfu")
    cache.match([1])
    for length in (1, 2, 3):
        cache.insert([2, 3, 4][:length], [100, 101, 102][:length])
    assert [node.payload.hits for node in radix_tree.iter_nodes(cache.root)][1:] == [1, 0, 0, 0]
    assert cache.evict(1).tolist() == [102]


def test_a_cache_that_keeps_nothing():
    """Would catch one that takes a page all the same, or answers another question than the one that keeps."""
    cache = KeepsNothing(page_size=2)
    for _ in range(2):
        present, length, node = cache.insert([1, 2, 3, 4], [5, 6])
        cache.lock(node)
        assert (present, length, cache.pages_to(node).tolist()) == (0, 0, [])
        assert found(cache, [1, 2, 3]) == []
        cache.unlock(node)
    assert cache.first_missing([1, 2, 3]) > 3
    assert sizes(cache) == (0, 0, 0)
    assert cache.evict(3).tolist() == []


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
    assert (upper.pages.tolist(), lower.pages.tolist()) == ([5], [6, 7])
    for span in (upper, lower):
        assert (span.created, span.last_used, span.lock_count, span.hits) == (1, 2, 3, 4)
    assert (upper.queued, lower.queued) == (False, True)


def test_what_stays_after_a_split_does_not_hold_the_memory_of_what_went():
    """Would catch an upper half that is a view: a short prefix would keep every long edge it was once cut from."""
    cache = filled(list(range(1, 100)), [1, 2, 200])
    cache.evict(98)
    (node,) = cache.root.children.values()
    assert (node.edge.tolist(), node.payload.pages.tolist()) == ([1, 2], [0, 1])
    assert (node.edge.base, node.payload.pages.base) == (None, None)


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


def test_pages_come_back_as_int64_even_when_there_are_none():
    """Would catch an empty float array, which no index operation takes."""
    cache = filled([1])
    for pages in (cache.match([7]).pages, cache.match([1]).pages, cache.evict(0), cache.evict(1), cache.evict(1)):
        assert pages.dtype == np.int64


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
        (lambda c: c.insert([1, 2], [3]), ValueError, "a page for every 1 tokens, got 1 for 2 tokens"),
        (lambda c: c.insert([1, 2], [3, 4, 5]), ValueError, "got 3 for 2 tokens"),
        (lambda c: c.insert([1, "x"], [3, 4]), TypeError, "tokens must be integers"),
        (lambda c: c.insert([1, 2], [3, 4.5]), TypeError, "pages must be integers"),
        (lambda c: c.insert([5, 6], [3, -1]), ValueError, "pages must be >= 0, got -1"),
        (lambda c: c.lock("req1"), TypeError, "expected a node, as in match.*got 'req1'"),
        (lambda c: c.lock(evicted_node()), ValueError, "not in this cache: it was evicted, or it belongs to another"),
        (lambda c: c.lock(PrefixCache().root), ValueError, "not in this cache"),
        (lambda c: c.unlock(None), TypeError, "got None"),
        (lambda c: c.unlock(evicted_node()), ValueError, "not in this cache"),
        (lambda c: c.unlock(c.root.children[(5,)]), ValueError, "not locked"),
        (lambda c: c.unlock(c.root.children[(1,)]), ValueError, "not locked"),  # but a lock below passes through it
        (lambda c: c.evict(-1), ValueError, "num_pages must be >= 0, got -1"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, error, message, dump):
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
        ({"page_size": 0}, "page_size must be a positive integer.*, got 0"),
        ({"page_size": 2.0}, "page_size must be a positive integer.*, got 2.0"),
        ({"page_size": True}, "page_size must be a positive integer.*, got True"),
        ({"policy": "mru"}, "policy must be one of lru, lfu, fifo, got 'mru'"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    """Would catch a cache that is made and fails at its first use."""
    with pytest.raises(ValueError, match=message):
        PrefixCache(**arguments)


def test_check_integrity_sees_damage():
    """Would catch a check that cannot fail."""

    def lose_a_page(cache):
        cache.root.children[(1,)].payload.pages = np.array([0])

    def share_a_page(cache):
        cache.root.children[(2,)].payload.pages = np.array([0])

    def lose_a_lock(cache):
        cache.root.children[(1,)].payload.lock_count = 0

    def lose_count(cache):
        cache.total_size += 1

    def lose_a_leaf(cache):
        cache._queue.clear()

    def lose_a_node(cache):
        del cache.root.children[(1,)]

    for damage in (lose_a_page, share_a_page, lose_a_lock, lose_count, lose_a_leaf, lose_a_node):
        cache = filled([1, 1], [2])
        cache.lock(cache.match([1, 1]).node)
        cache.check_integrity()
        damage(cache)
        with pytest.raises(AssertionError):
            cache.check_integrity()


# Against a naive model


class NaiveCache:
    """The same cache without a tree: a dict from the tokens up to the end of a page to that page."""

    def __init__(self, page_size, policy):
        self.page_size, self.policy = page_size, policy
        self.pages, self.locks, self.clock = {}, [], 0

    def keys(self, tokens):
        ends = range(self.page_size, len(tokens) + 1, self.page_size)
        return [tuple(tokens[:end]) for end in ends]

    def present(self, tokens):
        return [key for key in self.keys(tokens) if key in self.pages]

    def match(self, tokens):
        self.clock += 1
        present = self.present(tokens)
        for key in present:
            self.pages[key].update(last_used=self.clock, hits=self.pages[key]["hits"] + 1)
        return [self.pages[key]["page"] for key in present]

    def insert(self, tokens, pages):
        self.clock += 1
        present = len(self.present(tokens))
        keys = self.keys(tokens)
        for i, key in enumerate(keys):
            if i >= present:
                self.pages[key] = {"page": pages[i], "created": self.clock, "hits": 0}
            self.pages[key]["last_used"] = self.clock
        return present * self.page_size, len(keys) * self.page_size, [self.pages[key]["page"] for key in keys]

    def is_locked(self, key):
        return any(tokens[: len(key)] == key for tokens in self.locks)

    def evict_page(self):
        """The page that goes next: unlocked, no page goes on from it, and the policy's first."""

        def priority(key):
            page = self.pages[key]
            return {"lru": (page["last_used"],), "lfu": (page["hits"], page["last_used"]), "fifo": (page["created"],)}[
                self.policy
            ]

        parents = {tokens[: -self.page_size] for tokens in self.pages}
        key = min((k for k in self.pages if k not in parents and not self.is_locked(k)), key=priority)
        return self.pages.pop(key)["page"]


class CacheMachine(RuleBasedStateMachine):
    """Any sequence of calls on a cache and on the naive one, which must agree after each."""

    page_size, policy = 1, "lru"
    prompts = st.lists(st.integers(0, 1), max_size=9)

    def __init__(self):
        super().__init__()
        self.cache = PrefixCache(self.page_size, self.policy)
        self.model = NaiveCache(self.page_size, self.policy)
        self.locked: list[Node] = []
        self.next_page = 0

    @rule(tokens=prompts)
    def match(self, tokens):
        assert found(self.cache, tokens) == self.model.match(tokens)

    @rule(tokens=prompts)
    def insert(self, tokens):
        pages = range(self.next_page, self.next_page + len(tokens) // self.page_size)
        self.next_page += len(pages)
        present, length, node = self.cache.insert(tokens, pages)
        assert (present, length, self.cache.pages_to(node).tolist()) == self.model.insert(tokens, pages)
        assert radix_tree.tokens_to(node).tolist() == tokens[:length]

    @rule(tokens=prompts)
    def match_and_lock(self, tokens):
        match = self.cache.match(tokens)
        assert match.pages.tolist() == self.model.match(tokens)
        self.cache.lock(match.node)
        self.locked.append(match.node)
        self.model.locks.append(tuple(tokens[: match.length]))

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def unlock(self, data):
        i = data.draw(st.integers(0, len(self.locked) - 1))
        self.cache.unlock(self.locked.pop(i))
        self.model.locks.pop(i)

    @rule(num_pages=st.integers(0, 12))
    def evict(self, num_pages):
        evictable = self.cache.evictable_size
        freed = self.cache.evict(num_pages)
        assert len(freed) >= min(num_pages, evictable)
        assert sorted(freed.tolist()) == sorted(self.model.evict_page() for _ in freed)

    @invariant()
    def agrees(self):
        protected = sum(map(self.model.is_locked, self.model.pages))
        total = len(self.model.pages)
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

    def free(self, pages):
        """Back to the pool, and whoever still reads them reads nonsense."""
        for page in pages:
            assert page not in self.free_pages, f"page {page} is freed twice"
            self.free_pages.append(page)
            self.kv[page * self.page_size : (page + 1) * self.page_size] = [None] * self.page_size

    def slots(self, name: str) -> list[int]:
        """Where the tokens of a request lie."""
        size, request = self.page_size, self.running[name]
        return [request["table"][i // size] * size + i % size for i in range(len(request["tokens"]))]

    def admit(self, name: str, tokens: list[int]) -> bool:
        hit = self.cache.match(tokens[:-1])
        assert hit.length < len(tokens), "a token must be left to forward"
        self.cache.lock(hit.node)
        need = -(-(len(tokens) - hit.length) // self.page_size)
        if need > len(self.free_pages):
            self.free(self.cache.evict(need - len(self.free_pages)).tolist())
        if need > len(self.free_pages):
            self.cache.unlock(hit.node)
            return False
        table = [*hit.pages.tolist(), *(self.free_pages.pop() for _ in range(need))]
        self.running[name] = {"tokens": tokens, "table": table, "node": hit.node, "cached": len(hit.pages)}
        for i, slot in enumerate(self.slots(name)):
            if i >= hit.length:
                self.kv[slot] = tuple(tokens[: i + 1])
        return True

    def publish(self, name: str) -> None:
        request = self.running[name]
        done = self.cache.insert(request["tokens"], request["table"])
        self.cache.lock(done.node)
        self.cache.unlock(request["node"])
        duplicates = request["table"][request["cached"] : done.present // self.page_size]
        pages = self.cache.pages_to(done.node).tolist()
        request["table"][: len(pages)] = pages
        request["node"], request["cached"] = done.node, len(pages)
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
            read = [self.kv[slot] for slot in self.slots(name)]
            assert read == [tuple(request["tokens"][: i + 1]) for i in range(len(read))], f"{name} reads other KV"
            pages = set(request["table"][request["cached"] :])
            assert not pages & private
            private |= pages
        in_cache = self.cache.evictable_size + self.cache.protected_size
        assert (len(self.free_pages) + in_cache + len(private)) * self.page_size == len(self.kv)


@pytest.mark.parametrize("page_size", [1, 2, 4])
def test_twins_admitted_together_never_read_freed_pages(page_size):
    """Would catch the page table of a second request with the same prompt that keeps pointing at its duplicates."""
    engine = TinyEngine(num_pages=64, page_size=page_size)
    prompt = list(range(10))
    for name in ("first", "twin"):
        assert engine.admit(name, prompt)
    for name in ("first", "twin"):
        engine.publish(name)
        engine.check()
    whole = len(prompt) // page_size
    assert engine.running["first"]["table"][:whole] == engine.running["twin"]["table"][:whole]
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
        self.engine.free(self.engine.cache.evict(10**6).tolist())
        assert len(self.engine.free_pages) == 16 // self.page_size


class PagedServingMachine(ServingMachine):
    page_size = 2


TestServing = ServingMachine.TestCase
TestPagedServing = PagedServingMachine.TestCase
TestServing.settings = TestPagedServing.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
