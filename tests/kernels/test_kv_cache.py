"""KVCacheManager: every call against a model that copies whole requests, and one test for each bug of a naive
cache.
"""

import copy

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from yaie.kernels.kv_cache import KVCacheManager, OutOfBlocksError


def make(num_blocks=8, block_size=4, num_heads=2, head_dim=3, **kwargs):
    return KVCacheManager(num_blocks, block_size, num_heads, head_dim, **{"dtype": torch.float32, **kwargs})


def state(manager):
    """Everything that a failed call must leave alone."""
    return copy.deepcopy(
        (
            manager.block_tables,
            manager.context_lens,
            manager.free_block_list,
            manager.ref_counts,
            manager.cache_refs,
            manager.key_cache.tolist(),
            manager.value_cache.tolist(),
        )
    )


def refuses(manager, error, match, call):
    """The call raises `error` with `match` in its text, and changes nothing."""
    before = state(manager)
    with pytest.raises(error, match=match):
        call()
    assert state(manager) == before
    manager.check_integrity()


def tokens(num_tokens, manager, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, num_tokens, manager.num_heads, manager.head_dim)
    return torch.randn(shape, generator=generator).unbind()


# --- allocation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_tokens", "num_blocks"), [(1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_allocation_rounds_up_to_whole_blocks(num_tokens, num_blocks):
    """Catches rounding down, and a block too many when the tokens fill the last one exactly."""
    manager = make()
    assert len(manager.allocate_blocks("a", num_tokens)) == num_blocks == len(manager.block_tables["a"])
    assert manager.context_lens["a"] == num_tokens
    assert len(manager.free_block_list) == 8 - num_blocks


def test_blocks_go_out_in_order_and_return():
    """Catches a free list used from the wrong end, and a free that forgets blocks."""
    manager = make()
    assert manager.allocate_blocks("a", 6) == [0, 1]
    assert manager.allocate_blocks("b", 2) == [2]
    assert manager.free_blocks("a") == [0, 1]
    assert sorted(manager.free_block_list) == [0, 1, 3, 4, 5, 6, 7]
    assert manager.allocate_blocks("c", 8) == [0, 1]


def test_second_allocation_of_an_id_is_refused():
    """Catches a second allocation that overwrites the table, so that the first blocks are never freed."""
    manager = make()
    manager.allocate_blocks("a", 6)
    refuses(manager, ValueError, "'a' already has blocks", lambda: manager.allocate_blocks("a", 3))


@pytest.mark.parametrize("num_tokens", [0, -1, 2.5, True, "3"])
def test_token_counts_that_are_not_positive_integers_are_refused(num_tokens):
    """Catches a request of no tokens that gets an empty table, and one of less than none."""
    manager = make()
    refuses(manager, ValueError, "num_tokens", lambda: manager.allocate_blocks("a", num_tokens))
    manager.allocate_blocks("b", 1)
    refuses(manager, ValueError, "num_tokens", lambda: manager.append_tokens("b", num_tokens))


def test_out_of_blocks_loses_nothing_and_names_need_and_supply():
    """Catches taking blocks one by one until the list is empty: the ones taken by then are lost."""
    manager = make(num_blocks=3)
    manager.allocate_blocks("a", 5)
    refuses(manager, OutOfBlocksError, "'b': needs 2, 1 free", lambda: manager.allocate_blocks("b", 8))
    refuses(manager, OutOfBlocksError, "'a': needs 2, 1 free", lambda: manager.append_tokens("a", 8))
    with pytest.raises(RuntimeError) as caught:
        manager.allocate_blocks("b", 8)
    assert (caught.value.request_id, caught.value.needed, caught.value.available) == ("b", 2, 1)


def test_allocation_takes_blocks_from_the_end_of_the_list_only():
    """Catches list.pop(0) and slicing, which move every other id: 200,000 such pops take seconds."""

    class EndOnly(list):
        def pop(self, *args):
            assert args in ((), (-1,)), f"pop{args} moves the whole list"
            return super().pop()

        def __delitem__(self, index):
            raise AssertionError("deletion inside the free list moves what lies behind it")

        def __setitem__(self, index, value):
            raise AssertionError("the free list is rewritten")

        def insert(self, *args):
            raise AssertionError("insert moves what lies behind it")

        def remove(self, *args):
            raise AssertionError("remove searches the list")

    manager = make(num_blocks=50)
    stack = manager.free_block_list = EndOnly(manager.free_block_list)
    manager.allocate_blocks("a", 50)
    manager.append_tokens("a", 30)
    manager.free_blocks("a")
    assert manager.free_block_list is stack
    assert len(stack) == 50


def test_reuse_neither_allocates_nor_zeroes():
    """Catches a cache that makes fresh zeroed tensors each time a block is handed out."""
    manager = make()
    pool = manager.key_cache.data_ptr()
    manager.allocate_blocks("a", 4)
    keys, values = tokens(4, manager)
    manager.write("a", keys, values)
    manager.free_blocks("a")
    (block_id,) = manager.allocate_blocks("b", 4)
    assert torch.equal(manager.blocks[block_id].keys, keys)
    assert manager.key_cache.data_ptr() == pool


@pytest.mark.parametrize("name", ["num_blocks", "block_size", "num_heads", "head_dim", "num_layers"])
def test_sizes_must_be_positive_integers(name):
    """Catches a pool of no blocks, found only when the first request arrives."""
    with pytest.raises(ValueError, match=name):
        make(**{name: 0})


def test_unknown_and_freed_requests_are_named():
    """Catches a free that is missing, or that can be done twice and puts blocks on the list twice."""
    manager = make()
    manager.allocate_blocks("a", 6)
    manager.free_blocks("a")
    for call in (
        lambda: manager.free_blocks("a"),
        lambda: manager.append_tokens("a"),
        lambda: manager.slot_mapping("a"),
        lambda: manager.fork("a", "b"),
        lambda: manager.read("a"),
        lambda: manager.copy_on_write("a", 0),
        lambda: manager.write("a", *tokens(1, manager)),
    ):
        refuses(manager, KeyError, "'a' has no blocks", call)


def test_the_returned_table_is_a_copy():
    """Catches a caller that edits the list it got and thereby the manager's table."""
    manager = make()
    manager.allocate_blocks("a", 6).append(7)
    manager.fork("a", "b").append(7)
    assert manager.block_tables == {"a": [0, 1], "b": [0, 1]}
    manager.check_integrity()


# --- the pool -----------------------------------------------------------------------------------------------


def test_one_pool_with_a_layer_axis_and_views_into_it():
    """Catches a tensor per block, which no kernel can index by block id, and a pool without layers."""
    one, many = make(), make(num_layers=5)
    assert one.key_cache.shape == one.value_cache.shape == (1, 8, 4, 2, 3)
    assert many.key_cache.shape == (5, 8, 4, 2, 3)
    assert one.blocks[6].keys.shape == (4, 2, 3)
    assert many.blocks[6].values.shape == (5, 4, 2, 3)
    many.blocks[6].values.fill_(7)
    assert many.value_cache[:, 6].eq(7).all()
    assert many.value_cache.eq(7).sum() == 5 * 4 * 2 * 3
    assert [block.block_id for block in one.blocks] == list(range(8))
    with pytest.raises(IndexError, match="block 8"):
        one.blocks[8]


def test_dtype_and_device_belong_to_the_manager():
    """Catches a device chosen once for the whole program, and a dtype that the kernels do not get to see."""
    manager = KVCacheManager(2, 4, 1, 2, device="meta")
    assert manager.key_cache.device.type == "meta"
    assert manager.dtype == torch.float16
    half = KVCacheManager(2, 4, 2, 3)
    half.allocate_blocks("a", 2)
    keys, values = tokens(2, half)
    half.write("a", keys, values)
    read_keys, read_values = half.read("a")
    assert read_keys.dtype == torch.float16
    torch.testing.assert_close(read_keys, keys.half(), rtol=0, atol=0)
    torch.testing.assert_close(read_values, values.half(), rtol=0, atol=0)


def test_slot_mapping_names_the_rows_that_write_fills():
    """Catches slots in token order instead of table order: the table is not sorted and not contiguous."""
    manager = make()
    for name in "abc":
        manager.allocate_blocks(name, 4)
    manager.free_blocks("a")
    manager.free_blocks("b")
    manager.allocate_blocks("d", 9)
    assert manager.block_tables["d"] == [1, 0, 3]
    assert manager.slot_mapping("d") == [4, 5, 6, 7, 0, 1, 2, 3, 12]
    assert manager.slot_mapping("d", 3, 6) == [7, 0, 1]
    assert manager.slot_mapping("d", 9) == []
    keys, values = tokens(9, manager)
    manager.write("d", keys, values)
    assert torch.equal(manager.key_cache.view(-1, 2, 3)[manager.slot_mapping("d")], keys)
    assert torch.equal(manager.value_cache.view(-1, 2, 3)[manager.slot_mapping("d")], values)
    for start, end in [(-1, 2), (0, 10), (5, 4)]:
        refuses(manager, ValueError, "outside request 'd' of 9", lambda s=start, e=end: manager.slot_mapping("d", s, e))


def test_append_returns_the_new_slots_and_keeps_the_old_ones():
    """Catches a block per appended token, and a new block that is begun although the last has room."""
    manager = make()
    manager.allocate_blocks("a", 3)
    manager.allocate_blocks("b", 1)
    assert manager.append_tokens("a") == [3]
    assert manager.append_tokens("a", 6) == [8, 9, 10, 11, 12, 13]
    assert manager.block_tables["a"] == [0, 2, 3]
    assert manager.context_lens["a"] == 10


def test_write_and_read_by_layer_and_position():
    """Catches layers that share memory, and a start position that is ignored."""
    manager = make(num_layers=2)
    manager.allocate_blocks("a", 6)
    first, second = tokens(6, manager, seed=1), tokens(2, manager, seed=2)
    manager.write("a", *first, layer=1)
    manager.write("a", *second, start=3, layer=0)
    keys, values = manager.read("a", layer=1)
    assert torch.equal(keys, first[0])
    assert torch.equal(values, first[1])
    assert torch.equal(manager.read("a", start=3, end=5)[0], second[0])
    assert not manager.read("a", end=3)[0].any()


def test_bad_writes_are_refused():
    """Catches a write that broadcasts a wrong shape, or spills into the next request's block."""
    manager = make(num_layers=2)
    manager.allocate_blocks("a", 6)
    keys, values = tokens(3, manager)
    for match, call in [
        ("num_heads=2", lambda: manager.write("a", keys[:, :1], values[:, :1])),
        ("num_heads=2", lambda: manager.write("a", keys, values[:2])),
        ("num_heads=2", lambda: manager.write("a", keys[0], values[0])),
        ("num_tokens >= 1", lambda: manager.write("a", keys[:0], values[:0])),
        ("4..7", lambda: manager.write("a", keys, values, start=4)),
        ("-1..2", lambda: manager.write("a", keys, values, start=-1)),
        ("layer must be .*, got 2", lambda: manager.write("a", keys, values, layer=2)),
        ("layer must be .*, got -1", lambda: manager.read("a", layer=-1)),
    ]:
        refuses(manager, ValueError, match, call)


# --- sharing ------------------------------------------------------------------------------------------------


def test_fork_shares_every_block_and_free_waits_for_the_last_owner():
    """Catches a fork that takes blocks twice for equal prompts, and a free that gives away a shared block."""
    manager = make()
    manager.allocate_blocks("parent", 6)
    assert manager.fork("parent", "child") == [0, 1]
    assert manager.num_free_blocks == 6
    assert manager.free_blocks("parent") == []
    manager.check_integrity()
    assert manager.free_blocks("child") == [0, 1]
    manager.check_integrity()
    manager.allocate_blocks("a", 1)
    manager.allocate_blocks("b", 1)
    refuses(manager, ValueError, "'b' already has blocks", lambda: manager.fork("a", "b"))
    refuses(manager, ValueError, "'a' already has blocks", lambda: manager.fork("a", "a"))


@pytest.mark.parametrize("writer", ["parent", "child"])
def test_the_shared_tail_is_copied_for_whoever_appends_first(writer):
    """Catches a tail that both write: one request would read the other's token. Also a one-layer copy."""
    manager = make(num_layers=2)
    manager.allocate_blocks("parent", 6)
    keys, values = tokens(6, manager)
    for layer in range(2):
        manager.write("parent", keys + layer, values + layer, layer=layer)
    manager.fork("parent", "child")
    other = "child" if writer == "parent" else "parent"
    assert manager.append_tokens(writer) == [10]
    assert manager.block_tables == {writer: [0, 2], other: [0, 1]}
    assert manager.append_tokens(other) == [6], "the other is alone on its tail now and must not copy it"
    for name, seed in [(writer, 3), (other, 4)]:
        for layer in range(2):
            manager.write(name, *tokens(1, manager, seed), start=6, layer=layer)
    for name, seed in [(writer, 3), (other, 4)]:
        for layer in range(2):
            read_keys, read_values = manager.read(name, layer=layer)
            assert torch.equal(read_keys, torch.cat([keys + layer, tokens(1, manager, seed)[0]]))
            assert torch.equal(read_values, torch.cat([values + layer, tokens(1, manager, seed)[1]]))


def test_a_full_shared_tail_is_not_copied():
    """Catches a copy that nobody needs: new tokens go to a new block when the last one is full."""
    manager = make()
    manager.allocate_blocks("parent", 8)
    manager.fork("parent", "child")
    manager.append_tokens("child")
    assert manager.block_tables == {"parent": [0, 1], "child": [0, 1, 2]}


def test_writing_to_a_shared_block_copies_only_that_block():
    """Catches a write through a shared block, which changes the other request's past."""
    manager = make()
    manager.allocate_blocks("parent", 12)
    keys, values = tokens(12, manager)
    manager.write("parent", keys, values)
    manager.fork("parent", "child")
    new = tokens(2, manager, seed=5)
    manager.write("child", *new, start=5)
    assert manager.block_tables == {"parent": [0, 1, 2], "child": [0, 3, 2]}
    assert torch.equal(manager.read("parent")[0], keys)
    assert torch.equal(manager.read("child")[0], torch.cat([keys[:5], new[0], keys[7:]]))


def test_copies_that_do_not_fit_are_refused_before_any_is_made():
    """Catches an append or a write that copies the first shared block and then runs out."""
    manager = make(num_blocks=4)
    manager.allocate_blocks("parent", 11)
    manager.fork("parent", "child")
    refuses(manager, OutOfBlocksError, "'child': needs 2, 1 free", lambda: manager.append_tokens("child", 2))
    keys, values = tokens(8, manager)
    refuses(manager, OutOfBlocksError, "'child': needs 2, 1 free", lambda: manager.write("child", keys, values))
    manager.append_tokens("child", 1)
    refuses(manager, OutOfBlocksError, "needs 1, 0 free", lambda: manager.copy_on_write("child", 0))


# --- the prefix cache's side --------------------------------------------------------------------------------


def test_a_page_passes_from_a_request_to_the_cache_and_to_the_next_request():
    """Catches a published page that is freed with its request, while the cache still points at it."""
    manager = make()
    manager.allocate_blocks("a", 10)
    keys, values = tokens(10, manager)
    manager.write("a", keys, values)
    manager.retain([0, 1])
    assert manager.free_blocks("a") == [2]
    assert manager.allocate_blocks("b", 9, prefix_blocks=[0, 1]) == [0, 1, 2]
    assert torch.equal(manager.read("b", end=8)[0], keys[:8])
    assert manager.release([0]) == [], "the request still reads it"
    assert manager.free_blocks("b") == [0, 2]
    assert manager.release([1]) == [1]
    assert manager.num_free_blocks == 8
    manager.check_integrity()


def test_a_cached_page_is_never_written_by_the_request_that_reuses_it():
    """Catches a request that overwrites a page which the cache hands to others."""
    manager = make()
    manager.allocate_blocks("a", 4)
    manager.write("a", *tokens(4, manager))
    manager.retain([0])
    manager.free_blocks("a")
    before = manager.blocks[0].keys.clone()
    manager.allocate_blocks("b", 8, prefix_blocks=[0])
    manager.write("b", *tokens(8, manager, seed=1))
    assert torch.equal(manager.blocks[0].keys, before)
    assert 0 not in manager.block_tables["b"]
    manager.check_integrity()


def test_prefix_blocks_are_validated():
    """Catches a request built on pages that were evicted in the meantime: a use after free."""
    manager = make(num_blocks=4)
    manager.allocate_blocks("a", 8)
    for match, prefix in [
        ("block 2 is free", [0, 2]),
        ("prefix_blocks must lie in 0..3, got 4", [4]),
        ("prefix_blocks must lie in 0..3, got -1", [-1]),
        ("twice", [0, 0]),
    ]:
        refuses(manager, ValueError, match, lambda p=prefix: manager.allocate_blocks("b", 12, prefix_blocks=p))
    refuses(manager, ValueError, "do not fit", lambda: manager.allocate_blocks("b", 7, prefix_blocks=[0, 1]))
    refuses(manager, OutOfBlocksError, "needs 3, 2 free", lambda: manager.allocate_blocks("b", 20, [0, 1]))
    assert manager.allocate_blocks("b", 8, prefix_blocks=[0, 1]) == [0, 1]


def test_only_retained_references_can_be_released():
    """Catches an eviction that drops a running request's reference and frees the page under it."""
    manager = make()
    manager.allocate_blocks("a", 4)
    refuses(manager, ValueError, "block 0 released 1x, but retained 0x", lambda: manager.release([0]))
    refuses(manager, ValueError, "block 1 is free", lambda: manager.retain([0, 1]))
    refuses(manager, ValueError, "block_ids must lie in 0.*, got 9", lambda: manager.release([9]))
    manager.retain([0])
    refuses(manager, ValueError, "released 2x", lambda: manager.release([0, 0]))
    manager.retain([0])
    manager.free_blocks("a")
    assert manager.release([0, 0]) == [0]
    manager.check_integrity()


def test_replace_prefix_gives_the_duplicates_back():
    """Catches a request that keeps pointing at its own duplicates after they were freed."""
    manager = make()
    keys, values = tokens(8, manager)
    for name in "ab":
        manager.allocate_blocks(name, 9)
        manager.write(name, keys, values)
    manager.retain([0, 1])
    assert manager.replace_prefix("b", [0, 1]) == [3, 4]
    assert manager.block_tables["b"] == [0, 1, 5]
    assert torch.equal(manager.read("b", end=8)[0], keys)
    assert manager.replace_prefix("b", [0, 1]) == [], "replacing blocks by themselves changes nothing"
    refuses(manager, ValueError, "block 3 is free", lambda: manager.replace_prefix("b", [3]))
    refuses(manager, ValueError, "later tokens", lambda: manager.replace_prefix("b", [1]))
    refuses(manager, ValueError, "do not fit", lambda: manager.replace_prefix("b", [0, 1, 2]))
    manager.free_blocks("a")
    manager.free_blocks("b")
    manager.release([0, 1])
    assert manager.num_free_blocks == 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m.free_block_list.pop(),
        lambda m: m.free_block_list.append(0),
        lambda m: m.free_block_list.append(99),
        lambda m: m.block_tables.pop("a"),
        lambda m: m.context_lens.pop("a"),
        lambda m: m.context_lens.update(a=99),
        lambda m: m.ref_counts.__setitem__(0, 2),
        lambda m: m.cache_refs.__setitem__(0, 1),
        lambda m: (m.block_tables["a"].append(0), m.ref_counts.__setitem__(0, 2), m.context_lens.update(a=9)),
    ],
)
def test_check_integrity_finds_damage(damage):
    """Catches a check that cannot fail."""
    manager = make()
    manager.allocate_blocks("a", 6)
    manager.check_integrity()
    damage(manager)
    with pytest.raises(AssertionError):
        manager.check_integrity()


# --- random operations against a model ----------------------------------------------------------------------


class NaiveCache(RuleBasedStateMachine):
    """The model keeps every request's tokens in a list of its own, and each kept page as a copy.

    Whatever the manager shares, reading must give exactly that, and when all is dropped the pool must be
    whole. Catches a lost or doubly owned block, a missed copy on write, a copy that shifts slots, a half-done
    failure.
    """

    def __init__(self):
        super().__init__()
        self.manager = make(num_blocks=6, block_size=3, num_heads=1, head_dim=1, dtype=torch.float64)
        self.requests: dict[str, list[float]] = {}
        self.kept: dict[int, list[float]] = {}
        self.count = 0

    def fresh(self, num_tokens):
        self.count += num_tokens
        return [float(value) for value in range(self.count - num_tokens, self.count)]

    def new_id(self):
        self.count += 1
        return f"r{self.count}"

    def store(self, request_id, start, values):
        data = torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)
        self.manager.write(request_id, data, -data, start=start)
        self.requests[request_id][start : start + len(values)] = values

    def attempt(self, call):
        """Run the call; running out of blocks is fair only if the need is true and nothing changed."""
        before = state(self.manager)
        try:
            call()
        except OutOfBlocksError as error:
            refusal = error
        else:
            return True
        assert refusal.available == len(self.manager.free_block_list) < refusal.needed
        assert state(self.manager) == before
        return False

    @rule(num_tokens=st.integers(1, 10), use_kept=st.booleans())
    def allocate(self, num_tokens, use_kept):
        prefix = [b for b in self.kept if use_kept][: num_tokens // 3]
        name = self.new_id()
        if self.attempt(lambda: self.manager.allocate_blocks(name, num_tokens, prefix)):
            self.requests[name] = [value for block in prefix for value in self.kept[block]]
            rest = self.fresh(num_tokens - len(self.requests[name]))
            if rest:
                self.store(name, len(self.requests[name]), rest)

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), num_tokens=st.integers(1, 5))
    def append(self, data, num_tokens):
        name = data.draw(st.sampled_from(sorted(self.requests)))
        if self.attempt(lambda: self.manager.append_tokens(name, num_tokens)):
            self.store(name, len(self.requests[name]), self.fresh(num_tokens))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def overwrite(self, data):
        name = data.draw(st.sampled_from(sorted(self.requests)))
        start = data.draw(st.integers(0, len(self.requests[name]) - 1))
        values = self.fresh(data.draw(st.integers(1, len(self.requests[name]) - start)))
        self.attempt(lambda: self.store(name, start, values))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def fork(self, data):
        parent = data.draw(st.sampled_from(sorted(self.requests)))
        child = self.new_id()
        self.manager.fork(parent, child)
        self.requests[child] = list(self.requests[parent])

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def free(self, data):
        name = data.draw(st.sampled_from(sorted(self.requests)))
        self.manager.free_blocks(name)
        del self.requests[name]

    @precondition(lambda self: any(len(tokens) >= 3 for tokens in self.requests.values()))
    @rule(data=st.data())
    def publish(self, data):
        name = data.draw(st.sampled_from(sorted(n for n, t in self.requests.items() if len(t) >= 3)))
        page = data.draw(st.integers(0, len(self.requests[name]) // 3 - 1))
        block = self.manager.block_tables[name][page]
        if block not in self.kept:
            self.manager.retain([block])
            self.kept[block] = self.requests[name][page * 3 : page * 3 + 3]

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def evict(self, data):
        block = data.draw(st.sampled_from(sorted(self.kept)))
        self.manager.release([block])
        del self.kept[block]

    @invariant()
    def contents_agree(self):
        self.manager.check_integrity()
        assert self.manager.block_tables.keys() == self.requests.keys()
        for name, expected in self.requests.items():
            keys, values = self.manager.read(name)
            assert keys.flatten().tolist() == expected
            assert values.flatten().tolist() == [-value for value in expected]
        for block, expected in self.kept.items():
            assert self.manager.blocks[block].keys.flatten().tolist() == expected

    def teardown(self):
        for name in self.requests:
            self.manager.free_blocks(name)
        self.manager.release(self.kept)
        self.manager.check_integrity()
        assert sorted(self.manager.free_block_list) == list(range(6))


TestAgainstNaiveCache = NaiveCache.TestCase
TestAgainstNaiveCache.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
