"""Lesson 02: the paged KV cache, from the stack of free blocks to copy on write."""

from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_error, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import kv_cache

LESSON = Lesson(2, "kv_cache", "From a KV cache to pages", minutes=100)


def make(num_blocks: int, block_size: int, num_layers: int = 1) -> kv_cache.KVCacheManager:
    """A pool of one head with one number per token, all different, so that copies can be told apart."""
    manager = kv_cache.KVCacheManager(num_blocks, block_size, 1, 1, torch.float32, num_layers)
    count = num_layers * num_blocks * block_size
    manager.key_cache.copy_(torch.arange(count).view_as(manager.key_cache))
    manager.value_cache.copy_(1000 + torch.arange(count).view_as(manager.value_cache))
    return manager


def give(manager: kv_cache.KVCacheManager, request_id: str, table: list[int], num_tokens: int) -> None:
    """Put a request with that block table into the pool by hand, without the functions under test."""
    for block_id in table:
        if manager.ref_counts[block_id] == 0:
            manager.free_block_list.remove(block_id)
        manager.ref_counts[block_id] += 1
    manager.block_tables[request_id] = list(table)
    manager.context_lens[request_id] = num_tokens


def books(manager: kv_cache.KVCacheManager) -> dict[str, object]:
    """Everything that says who holds what, as a copy."""
    return {
        "block_tables": {name: list(table) for name, table in manager.block_tables.items()},
        "context_lens": dict(manager.context_lens),
        "free_block_list": list(manager.free_block_list),
        "ref_counts": list(manager.ref_counts),
    }


def expect_books(manager: kv_cache.KVCacheManager, expected: dict[str, object], when: str) -> None:
    """Compare each of the books by itself, so that a failure shows the one that is wrong."""
    found = books(manager)
    for name in expected:
        expect(found[name], expected[name], f"{name} {when}")


@LESSON.exercise(
    "2.1",
    title="Take blocks from a stack",
    target="yaie.kernels.kv_cache:KVCacheManager._take_blocks",
    minutes=10,
    task="Take `count` block ids off the end of `self.free_block_list`, set the reference count of each to 1, and "
    "return the ids in the order in which they came off. If there are too few, raise and change nothing. With "
    "`free_block_list` = [5, 9, 2], a count of 2 gives [2, 9] and leaves [5].",
    hints=(
        "Find out first whether there are enough blocks. Only then take the first one.",
        "`list.pop()` without an argument takes the last entry and moves no other. "
        "`self._require_free(request_id, count)` raises the right error.",
        "self._require_free(request_id, count); taken = [self.free_block_list.pop() for _ in range(count)]; then set "
        "self.ref_counts[block_id] = 1 for every block_id in taken, and return taken.",
    ),
    mutants=(
        Mutant(
            "self.free_block_list.pop()",
            "self.free_block_list.pop(0)",
            "The blocks were taken from the front of the list. `pop(0)` moves all the other entries; `pop()` takes "
            "the last one and moves none.",
        ),
        Mutant(
            "    self._require_free(request_id, count)\n"
            "    taken = [self.free_block_list.pop() for _ in range(count)]\n",
            "    taken = []\n"
            "    for _ in range(count):\n"
            "        self._require_free(request_id, 1)\n"
            "        taken.append(self.free_block_list.pop())\n",
            "Blocks were taken before it was known that there are enough. When the list runs out half-way, the ones "
            "taken by then are lost: compare the count with the length of the list first.",
        ),
        Mutant(
            "    self._require_free(request_id, count)\n",
            "",
            "Nothing checks that there are enough blocks, so `pop` fails on the empty list.",
        ),
        Mutant(
            "        self.ref_counts[block_id] = 1\n",
            "        pass\n",
            "The reference counts are still 0, so the blocks look free although somebody holds them.",
        ),
        Mutant(
            "[self.free_block_list.pop() for _ in range(count)]",
            "self.free_block_list[-count:]; del self.free_block_list[-count:]",
            "A slice keeps the order of the list. The block at the end of the list comes off first.",
        ),
        Mutant(
            "[self.free_block_list.pop() for _ in range(count)]",
            "self.free_block_list[-count:][::-1]; del self.free_block_list[-count:]",
            "With a count of 0 the slice [-0:] is the whole list.",
        ),
        Mutant(
            "[self.free_block_list.pop() for _ in range(count)]",
            "self.free_block_list[::-1][:count]; "
            "self.free_block_list = self.free_block_list[: len(self.free_block_list) - count]",
            "The list was replaced by a copy of what is left, which takes time for every free block. Shorten the list "
            "itself.",
        ),
    ),
)
def check_take_blocks() -> None:
    for free, count in (([0], 1), ([5, 9, 2], 2), ([2, 1, 0], 3), ([3, 1], 0), (list(range(16)), 7)):
        manager = make(num_blocks=16, block_size=4)
        manager.free_block_list[:] = free
        stack = manager.free_block_list
        with given(f'free_block_list = {free}; _take_blocks("A", {count})'):
            taken = manager._take_blocks("A", count)
            expect(taken, free[len(free) - count :][::-1], "list of block ids (the result)")
            expect(manager.free_block_list, free[: len(free) - count], "free_block_list afterwards")
            expect(manager.free_block_list is stack, True, "`free_block_list` is the same list object, shorter")
            counts = [int(block_id in taken) for block_id in range(16)]
            expect(manager.ref_counts, counts, "ref_counts afterwards (1 for each block taken)")
    for free, count in (([4, 6], 3), ([], 1)):
        manager = make(num_blocks=8, block_size=4)
        manager.free_block_list[:] = free
        before = books(manager)
        with given(f'free_block_list = {free}; _take_blocks("A", {count})'):
            expect_error(
                lambda: manager._take_blocks("A", count),  # noqa: B023
                kv_cache.OutOfBlocksError,
                "answer when too few blocks are free",
            )
            expect_books(manager, before, "after the error (as before)")


ALLOCATE_CASES: tuple[tuple[int, list[int], int, list[int]], ...] = (
    # block size, blocks of request P (all full), number of tokens of the new request, blocks of P that it shares
    (4, [], 1, []),
    (4, [], 5, []),
    (4, [], 8, []),
    (1, [], 3, []),
    (4, [3], 4, [3]),
    (4, [3, 1], 9, [3, 1]),
    (4, [3, 1], 9, [3]),
    (16, [2], 33, [2]),
)


@LESSON.exercise(
    "2.2",
    title="Allocate a block table",
    target="yaie.kernels.kv_cache:KVCacheManager.allocate_blocks",
    minutes=15,
    requires=("2.1",),
    task="Give a new request its block table: first the blocks of a cached prefix that it shares (`prefix_blocks`), "
    "then fresh ones for the rest. With blocks of 4, a request of 9 tokens that shares the blocks [3, 1] needs one "
    "fresh block; if that is 0, its table is [3, 1, 0].",
    hints=(
        "Do all that can fail first: the three checks, then taking the blocks. Change the books only after that.",
        "The number of fresh blocks is `self.blocks_needed(num_tokens) - len(prefix_blocks)`. The shared blocks get "
        "one more reference each; `_take_blocks` has already set the count of the fresh ones.",
        "if request_id in self.block_tables: raise ValueError; _positive_int; self._check_prefix; new = "
        "self._take_blocks(request_id, number); add 1 to ref_counts of each prefix block; block_tables[request_id] = "
        "[*prefix_blocks, *new]; context_lens[request_id] = num_tokens; return a copy of the table.",
    ),
    mutants=(
        Mutant(
            "if request_id in self.block_tables:",
            "if False:",
            "The request had a table already. A second one overwrites it, and nobody can free the first blocks any "
            "more.",
        ),
        Mutant(
            '    _positive_int("num_tokens", num_tokens)\n',
            "",
            "A request of no tokens was accepted. `_positive_int` refuses it.",
        ),
        Mutant(
            " - len(prefix_blocks)",
            "",
            "Fresh blocks were taken for all tokens, although the prefix blocks hold the first of them.",
        ),
        Mutant(
            "[*prefix_blocks, *new_blocks]",
            "[*new_blocks, *prefix_blocks]",
            "The prefix belongs at the start of the table: entry i holds the tokens from i * block_size on.",
        ),
        Mutant(
            "        self.ref_counts[block_id] += 1\n",
            "        pass\n",
            "The shared blocks got no reference for this request, so they are freed while it still reads them.",
        ),
        Mutant(
            "    new_blocks = self._take_blocks(request_id, num_new_blocks)\n"
            "    for block_id in prefix_blocks:\n"
            "        self.ref_counts[block_id] += 1\n",
            "    for block_id in prefix_blocks:\n"
            "        self.ref_counts[block_id] += 1\n"
            "    new_blocks = self._take_blocks(request_id, num_new_blocks)\n",
            "The references on the prefix were taken before the fresh blocks. When there are too few of those, the "
            "call fails and the references stay for ever.",
        ),
        Mutant(
            "return list(self.block_tables[request_id])",
            "return self.block_tables[request_id]",
            "The caller got the block table itself. If it changes its list, it changes the cache.",
        ),
    ),
)
def check_allocate_blocks() -> None:
    for block_size, parent, num_tokens, prefix in ALLOCATE_CASES:
        manager = make(num_blocks=6, block_size=block_size)
        if parent:
            give(manager, "P", parent, len(parent) * block_size)
        shares = f', prefix_blocks={prefix}) while "P" holds {parent}' if prefix else ")"
        with given(f'allocate_blocks("A", {num_tokens}{shares}, block_size={block_size}'):
            before = books(manager)
            free = list(manager.free_block_list)
            count = len(range(0, num_tokens, block_size)) - len(prefix)
            table = [*prefix, *free[len(free) - count :][::-1]]
            got = (
                manager.allocate_blocks("A", num_tokens, prefix) if prefix else manager.allocate_blocks("A", num_tokens)
            )
            expect(got, table, "list of block ids (the result)")
            tables = before["block_tables"]
            expected = {
                "block_tables": {**tables, "A": table},
                "context_lens": {**before["context_lens"], "A": num_tokens},
                "free_block_list": free[: len(free) - count],
                "ref_counts": [parent.count(block_id) + table.count(block_id) for block_id in range(6)],
            }
            expect_books(manager, expected, "afterwards")
            got.append(99)
            expect(manager.block_tables["A"], table, 'block_tables["A"] after the caller changed its own list')
    for num_tokens, prefix, error, what in (
        (25, [], kv_cache.OutOfBlocksError, "answer to more tokens than there is room for"),
        (25, [3, 1], kv_cache.OutOfBlocksError, "answer to more tokens than there is room for"),
        (0, [], ValueError, "answer to a request of no tokens"),
        (-4, [], ValueError, "answer to a negative number of tokens"),
        (9, [0], ValueError, "answer to a prefix block that is free"),
    ):
        manager = make(num_blocks=6, block_size=4)
        give(manager, "P", [3, 1], 8)
        shares = f", prefix_blocks={prefix}" if prefix else ""
        with given(f'allocate_blocks("A", {num_tokens}{shares}) in a pool of 6 blocks, of which "P" holds [3, 1]'):
            _refuses(manager, lambda: manager.allocate_blocks("A", num_tokens, prefix), error, what)  # noqa: B023
    manager = make(num_blocks=6, block_size=4)
    give(manager, "A", [3, 1], 8)
    with given('allocate_blocks("A", 3), while "A" holds the blocks [3, 1]'):
        call = lambda: manager.allocate_blocks("A", 3)  # noqa: E731
        _refuses(manager, call, ValueError, "answer to a request that has blocks already")


def _refuses(manager: kv_cache.KVCacheManager, call, error: type[BaseException], what: str) -> None:
    before = books(manager)
    expect_error(call, error, what)
    expect_books(manager, before, "after the error (as before)")


@LESSON.exercise(
    "2.3",
    title="From positions to slots",
    target="yaie.kernels.kv_cache:KVCacheManager.slot_mapping",
    minutes=10,
    task="Say in which slot of the pool each token of a request lies. With blocks of 4 and the block table [7, 2], "
    "position 3 is row 3 of block 7, which is slot 31, and position 4 is row 0 of block 2, which is slot 8.",
    hints=(
        "Two questions for each position: which entry of the block table, and which row of that block?",
        "`position // block_size` is the entry, `position % block_size` the row. Slots are counted through the whole "
        "pool: block b begins at slot b * block_size.",
        "table = self._table(request_id); end = context length if it is None; ValueError unless 0 <= start <= end <= "
        "context length; then [table[p // size] * size + p % size for p in range(start, end)].",
    ),
    mutants=(
        Mutant(
            "table[position // size] * size + position % size",
            "table[0] * size + position",
            "This takes the blocks of a request to lie side by side. Only the block table knows where the next one is.",
        ),
        Mutant(
            "table[position // size] * size + position % size",
            "table[position // size] + position % size",
            "A block id is not a slot: block b begins at slot b * block_size.",
        ),
        Mutant(
            "table[position // size] * size + position % size",
            "table[position % size] * size + position // size",
            "`//` and `%` changed places: the quotient chooses the entry of the table, the remainder the row.",
        ),
        Mutant("range(start, end)]", "range(end - start)]", "Positions were counted from 0 instead of from `start`."),
        Mutant(
            "end = context_len if end is None else end",
            "end = len(table) * self.block_size if end is None else end",
            "The last block may be partly filled: without `end` the slots stop at the context length, not at the end "
            "of the block.",
        ),
        Mutant(
            "if not 0 <= start <= end <= context_len:",
            "if start > end or end > context_len:",
            "A negative position was accepted: Python reads table[-1] as the last entry.",
        ),
        Mutant(
            "if not 0 <= start <= end <= context_len:",
            "if not 0 <= start <= end:",
            "Positions after the last token were accepted, as far as the last block reaches.",
        ),
    ),
)
def check_slot_mapping() -> None:
    for block_size, table, num_tokens, start, end in (
        (4, [0], 1, 0, None),
        (4, [2], 3, 0, None),
        (4, [7, 2], 6, 0, None),
        (4, [7, 2], 8, 3, 5),
        (4, [7, 2, 5, 0], 14, 9, None),
        (4, [7, 2], 6, 6, 6),
        (1, [3, 6, 1], 3, 0, None),
        (16, [1, 0], 17, 15, 17),
    ):
        manager = make(num_blocks=8, block_size=block_size)
        give(manager, "A", table, num_tokens)
        rows = torch.arange(8 * block_size).view(8, block_size)  # every slot of the pool, block by block
        slots = [slot for block_id in table for slot in rows[block_id].tolist()][:num_tokens]
        arguments = '"A"' if (start, end) == (0, None) else f'"A", {start}, {end}'
        with given(f"slot_mapping({arguments}), block_size={block_size}, table {table}, {num_tokens} tokens"):
            got = manager.slot_mapping("A") if (start, end) == (0, None) else manager.slot_mapping("A", start, end)
            expect(got, slots[start:end], "list of slots")
    for start, end in ((0, 7), (-1, 2), (4, 3)):
        manager = make(num_blocks=8, block_size=4)
        give(manager, "A", [7, 2], 6)
        with given(f'slot_mapping("A", {start}, {end}), block_size=4, table [7, 2], 6 tokens'):
            what = "answer to positions that the request does not have"
            expect_error(lambda: manager.slot_mapping("A", start, end), ValueError, what)  # noqa: B023


@LESSON.exercise(
    "2.4",
    title="Fork a request",
    target="yaie.kernels.kv_cache:KVCacheManager.fork",
    minutes=10,
    task="Start a child request with all tokens of its parent, without copying keys or values. If the parent has the "
    "block table [0, 1] and 6 tokens, the child gets a table [0, 1] of its own and 6 tokens, and each of the two "
    "blocks has one more reference.",
    hints=(
        "No block leaves the free list and nothing in the pool changes. Only the books get new entries.",
        "The child needs three things: a list of its own with the same block ids, one more reference on each of them, "
        "and the parent's number of tokens.",
        "table = self._table(parent_id); if child_id in self.block_tables: raise ValueError; add 1 to "
        "self.ref_counts[block_id] for each block of table; self.block_tables[child_id] = list(table); copy "
        "context_lens; return list(table).",
    ),
    mutants=(
        Mutant(
            "self.block_tables[child_id] = list(table)",
            "self.block_tables[child_id] = table",
            "Parent and child share one list, so what one appends appears in the other's table.",
        ),
        Mutant(
            "        self.ref_counts[block_id] += 1\n",
            "        pass\n",
            "The blocks have two owners now and still one reference, so the first owner that leaves frees them.",
        ),
        Mutant(
            "    self.context_lens[child_id] = self.context_lens[parent_id]\n",
            "",
            "The child has blocks but no number of tokens: `context_lens` needs an entry for it.",
        ),
        Mutant(
            "    for block_id in table:\n        self.ref_counts[block_id] += 1\n",
            "    table = self._take_blocks(child_id, len(table))\n",
            "The child got fresh blocks. It should share those of its parent; a copy is made only when one of them "
            "writes.",
        ),
        Mutant(
            "if child_id in self.block_tables:",
            "if False:",
            "The child had blocks already. Its old table was overwritten, and those blocks are never freed.",
        ),
        Mutant(
            "    return list(table)",
            "    return self.block_tables[child_id]",
            "The caller got the block table itself. If it changes its list, it changes the cache.",
        ),
    ),
)
def check_fork() -> None:
    for table, num_tokens in (([0], 3), ([0, 1], 6), ([4, 1, 3], 12)):
        manager = make(num_blocks=6, block_size=4)
        give(manager, "A", table, num_tokens)
        before = books(manager)
        with given(f'fork("A", "B"), where "A" has {num_tokens} tokens in the blocks {table} (block_size=4)'):
            got = manager.fork("A", "B")
            expect(got, table, "list of block ids (the result)")
            expected = {
                "block_tables": {"A": table, "B": table},
                "context_lens": {"A": num_tokens, "B": num_tokens},
                "free_block_list": before["free_block_list"],
                "ref_counts": [2 * table.count(block_id) for block_id in range(6)],
            }
            expect_books(manager, expected, "afterwards")
            got.append(99)
            manager.block_tables["A"].append(98)
            expect(manager.block_tables["B"], table, 'table of "B" after others changed their own lists')
    manager = make(num_blocks=6, block_size=4)
    give(manager, "A", [0, 1], 6)
    with given('fork("A", "B"); fork("B", "C"), where "A" has 6 tokens in the blocks [0, 1]'):
        manager.fork("A", "B")
        manager.fork("B", "C")
        expect(manager.ref_counts, [3, 3, 0, 0, 0, 0], "ref_counts afterwards")
    give(manager, "D", [2], 1)
    with given('fork("A", "D"), where both have blocks already'):
        _refuses(manager, lambda: manager.fork("A", "D"), ValueError, "answer to a child that has blocks")
    with given('fork("nobody", "E")'):
        _refuses(manager, lambda: manager.fork("nobody", "E"), KeyError, "answer to a parent without blocks")


@LESSON.exercise(
    "2.5",
    title="Copy on write",
    target="yaie.kernels.kv_cache:KVCacheManager.copy_on_write",
    minutes=15,
    requires=("2.4",),
    task="Before a request writes into a block that others share, give it a copy of that block. If A and B both have "
    'the table [0, 1] and the free block 2 is next, `copy_on_write("B", 1)` copies block 1 to block 2, makes the '
    "table of B [0, 2], and returns 2. A block that B alone holds stays as it is.",
    hints=(
        "Look at the reference count of the block first. With 1 there is nothing to do but to return its id.",
        "Take the fresh block before you change anything, because that is the step that can fail. A copy covers keys "
        "and values, and all layers: `self.key_cache[:, block_id]`.",
        "shared = table[block_index]; if self.ref_counts[shared] == 1: return shared; (private,) = "
        "self._take_blocks(request_id, 1); copy key_cache[:, shared] and value_cache[:, shared] to private; "
        "table[block_index] = private; self.ref_counts[shared] -= 1; return private.",
    ),
    mutants=(
        Mutant(
            "    if self.ref_counts[shared] == 1:\n        return shared\n",
            "",
            "A block that only this request holds was copied. That costs a block and leaves the old one without an "
            "owner, yet not free.",
        ),
        Mutant(
            "    self.value_cache[:, private] = self.value_cache[:, shared]\n",
            "",
            "The keys were copied and the values were not.",
        ),
        Mutant(
            "self.key_cache[:, private] = self.key_cache[:, shared]",
            "self.key_cache[0, private] = self.key_cache[0, shared]",
            "Only the first layer was copied: the first axis of the pool is the layer.",
        ),
        Mutant(
            "self.key_cache[:, private] = self.key_cache[:, shared]",
            "self.key_cache[:, shared] = self.key_cache[:, private]",
            "The copy went the wrong way: old contents of the fresh block overwrote the shared one.",
        ),
        Mutant(
            "    table[block_index] = private\n", "", "The block was copied, but the table still names the shared one."
        ),
        Mutant(
            "    self.ref_counts[shared] -= 1\n",
            "",
            "The request no longer holds the shared block, so that block has one reference less.",
        ),
        Mutant(
            "    (private,) = self._take_blocks(request_id, 1)\n"
            "    self.key_cache[:, private] = self.key_cache[:, shared]\n"
            "    self.value_cache[:, private] = self.value_cache[:, shared]\n"
            "    table[block_index] = private\n"
            "    self.ref_counts[shared] -= 1\n",
            "    self.ref_counts[shared] -= 1\n"
            "    (private,) = self._take_blocks(request_id, 1)\n"
            "    self.key_cache[:, private] = self.key_cache[:, shared]\n"
            "    self.value_cache[:, private] = self.value_cache[:, shared]\n"
            "    table[block_index] = private\n",
            "The reference was dropped before the fresh block was there. If no block is free, the call fails and the "
            "count stays wrong.",
        ),
    ),
)
def check_copy_on_write() -> None:
    for num_layers, table, index in ((1, [0, 1], 1), (1, [3], 0), (2, [0, 4, 1], 1)):
        manager = make(num_blocks=6, block_size=2, num_layers=num_layers)
        for name in ("A", "B"):
            give(manager, name, table, 2 * len(table))
        _check_copy(manager, index, f"A and B both have the table {table}, {num_layers} layers")
    manager = make(num_blocks=6, block_size=2)
    give(manager, "B", [0, 1], 3)
    _check_copy(manager, 1, "B alone has the table [0, 1]")
    give(manager, "A", [0, 2], 4)
    _check_copy(manager, 1, "B has the table [0, 1], A has [0, 2]")
    give(manager, "C", [0], 2)
    _check_copy(manager, 0, "A, B and C all begin with block 0")
    manager = make(num_blocks=2, block_size=2)
    for name in ("A", "B"):
        give(manager, name, [0, 1], 4)
    with given('copy_on_write("B", 1) with no free block; A and B both have the table [0, 1]'):
        call = lambda: manager.copy_on_write("B", 1)  # noqa: E731
        _refuses(manager, call, kv_cache.OutOfBlocksError, "answer when no block is free")


def _check_copy(manager: kv_cache.KVCacheManager, index: int, situation: str) -> None:
    """Call `copy_on_write("B", index)` and compare books and pool with what they must be."""
    expected = books(manager)
    keys, values = manager.key_cache.clone(), manager.value_cache.clone()
    shared = manager.block_tables["B"][index]
    own = shared
    if sum(shared in table for table in manager.block_tables.values()) > 1:
        own = expected["free_block_list"].pop()
        expected["block_tables"]["B"][index] = own
        expected["ref_counts"][shared] -= 1
        expected["ref_counts"][own] = 1
        keys[:, own], values[:, own] = keys[:, shared], values[:, shared]
    num_layers = len(keys)
    with given(f'copy_on_write("B", {index}): {situation}; block_size 2; key of each token = its slot'):
        expect(manager.copy_on_write("B", index), own, "block id (the result)")
        expect_books(manager, expected, "afterwards")
        for layer in range(num_layers):
            where = f" in layer {layer}" if num_layers > 1 else ""
            expect(manager.key_cache[layer].view(-1), keys[layer].view(-1), f"key_cache{where}, slot by slot")
            expect(manager.value_cache[layer].view(-1), values[layer].view(-1), f"value_cache{where}, slot by slot")
