"""Lesson 10: the debug clinic. Twelve broken parts: find an input on which each fails, then mend it.

A case has two exercises: one asks for the input (a function of `yaie.course.clinic`), the next shows the broken
function of the engine. What is broken is said once, in `broken` of the second; the first takes it from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from yaie.course import clinic
from yaie.course.expect import Mismatch, expect, first_difference, given, plain, shown
from yaie.course.registry import Lesson, Mutant, find_exercise
from yaie.cuda import KernelError
from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.prefix_cache import PrefixCache
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Scheduler
from yaie.kernels import native
from yaie.kernels.kv_cache import KVCacheManager, OutOfBlocksError
from yaie.kernels.radix_tree import RadixTree

LESSON = Lesson(10, "debug_clinic", "Debug clinic: the bug hunt", minutes=150)


def module(file: str) -> Any:
    """The launchers of a file of csrc/ in the emulator, with all checks."""
    return native.module(file, "emulator", check=True)


# --- to find an input -----------------------------------------------------------------------------------------


def valid(condition: bool, value: Any, wanted: str) -> None:
    """Raise `Mismatch` unless what the learner gives is an input of the case at all."""
    if not condition:
        raise Mismatch("form of the input", shown(value), wanted, "", "")


def are_ints(values: Any, low: int, high: int) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) and low <= v <= high for v in values)


def expose(mending: str, function: str, text: str, run: Callable[[], Any]) -> None:
    """Raise `Mismatch` unless the broken function of exercise `mending` gives something else than the right one.

    `text` names the input. `run` calls the engine with it; a finding of the emulator is a result, too.
    """
    with given(text):
        right = _outcome(run)
        exercise = find_exercise(mending)
        with exercise.language.as_found(exercise):
            broken = _outcome(run)
        if first_difference(broken, right) is None:
            note = "Read the broken function line by line with this input: on which other one would a line go wrong?"
            wanted = f"an input on which the broken `{function}` does something else"
            raise Mismatch("input", f"the same from both: {shown(right, limit=200)}", wanted, "", note)
    print(f"right:  {shown(right, str, 300)}\nbroken: {shown(broken, str, 300)}")


def _outcome(run: Callable[[], Any]) -> Any:
    try:
        return plain(run())
    except KernelError as error:
        return error.findings[0].text.split("\n    likely cause")[0]


# --- case 1: copy_blocks ----------------------------------------------------------------------------------------


def copied_block(num_floats: int) -> torch.Tensor:
    """Block 1 after block 0 was copied to it, in a cache of 0, 1, 2, ... with `num_floats` numbers in a block."""
    keys = torch.arange(2 * num_floats, dtype=torch.float32)
    values = -keys
    pairs = torch.tensor([[0, 1]])
    module("memory/copy_blocks.cu").copy_blocks_1_elements(keys, values, pairs, 1, 1, 2, 4 * num_floats)
    return keys[num_floats:]


@LESSON.exercise(
    "10.1",
    title="Case 1, the fork that forgot its end: expose it",
    target="yaie.course.clinic:floats_per_block",
    minutes=4,
    task="Users who fork a request get a good answer with small models and nonsense with large ones. Say how many "
    "numbers "
    "a block must have so that the broken `copy_blocks_kernel` leaves some of them behind.",
    hints=(
        "Compare the broken kernel with what its comment asks for: how many numbers does one thread move?",
        "The launcher starts at most 256 threads, however large a block is.",
        "Any number above 256 will do: return 300.",
    ),
    mutants=(
        Mutant("return 257", "return 256", "256 threads copy 256 numbers: that is just enough."),
        Mutant("return 257", "return 5000", "A block may have 1 to 4096 numbers here."),
    ),
    time_limit=20.0,
)
def check_floats_per_block() -> None:
    n = clinic.floats_per_block()
    valid(are_ints([n], 1, 4096), n, "an int from 1 to 4096")
    expose("10.2", "copy_blocks_kernel", f"floats_per_block() == {n}", lambda: copied_block(n)[-8:])


@LESSON.exercise(
    "10.2",
    title="Case 1: mend it",
    target="csrc/memory/copy_blocks.cu:copy_blocks_kernel",
    minutes=5,
    requires=("10.1",),
    task="Mend `copy_blocks_kernel`: all numbers of a block must be copied, whatever the number of threads.",
    broken=(
        "for (int64_t i = threadIdx.x; i < units_per_block; i += blockDim.x) {",
        "const int64_t i = threadIdx.x;\n    if (i < units_per_block) {",
    ),
    hints=(
        "`if` runs once. How often must a thread run if there are fewer threads than units?",
        "Lesson 08: a loop in steps of the number of threads. Here the threads of one block share the work.",
        "for (int64_t i = threadIdx.x; i < units_per_block; i += blockDim.x) { ... }",
    ),
    mutants=(
        Mutant(
            "i < units_per_block;",
            "i < units_per_block / blockDim.x * blockDim.x;",
            "Only whole rounds are copied. The last round, in which some threads have nothing to do, is missing.",
        ),
        Mutant(
            "i += blockDim.x",
            "i += 1",
            "Every thread copies everything after its own unit: the threads write the same units at the same time. A "
            "step "
            "is the number of threads, `blockDim.x`.",
        ),
    ),
)
def check_copy_blocks() -> None:
    for n in (8, 256, 257, 1000):
        with given(f"copy block 0 to block 1, with {n} numbers in a block"):
            expect(copied_block(n), torch.arange(n, dtype=torch.float32), "block 1")


# --- case 2: find_shared_prefixes -------------------------------------------------------------------------------


def shared(stored: list[int], asked: list[int]) -> tuple[list[str], int]:
    tree = RadixTree()
    tree.insert_request("a", stored)
    return tree.find_shared_prefixes(asked)


@LESSON.exercise(
    "10.3",
    title="Case 2, the tree that promised too much: expose it",
    target="yaie.course.clinic:stored_and_asked",
    minutes=4,
    task="Two users' prompts begin alike, and the second gets parts of the first one's answer. Give two prompts for "
    "which "
    "the broken `find_shared_prefixes` says that more is shared than is.",
    hints=(
        "When is its answer right? When the second prompt is known to its end.",
        "Let the prompts part ways before the second one ends.",
        "return [1, 9], [1, 2]: one token is shared.",
    ),
    mutants=(
        Mutant("[1, 9], [1, 2]", "[1, 2, 3], [1, 2]", "All of the second prompt is shared, and that it does say."),
        Mutant("[1, 9], [1, 2]", "[9, 1], [1, 2]", "These share nothing, and for nothing it says 0."),
    ),
)
def check_stored_and_asked() -> None:
    pair = clinic.stored_and_asked()
    ok = isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(p, list | tuple) for p in pair)
    ok = ok and all(1 <= len(prompt) <= 8 and are_ints(prompt, 0, 10**6) for prompt in pair)
    valid(ok, pair, "two lists of 1 to 8 token ids")
    stored, asked = pair
    text = f"a tree that holds {stored}; find_shared_prefixes({asked})"
    expose("10.4", "find_shared_prefixes", text, lambda: shared(stored, asked))


@LESSON.exercise(
    "10.4",
    title="Case 2: mend it",
    target="yaie.kernels.radix_tree:RadixTree.find_shared_prefixes",
    minutes=5,
    requires=("10.3",),
    task="Mend `find_shared_prefixes`: the length is that of what is shared, and the ids are those who share it.",
    broken=(
        "return (self._ids_below(node) if length else []), length",
        "return (self._ids_below(node), len(token_ids)) if length else ([], 0)",
    ),
    hints=(
        "`match_prefix` knows how many tokens are shared. Where does that number go?",
        "`length` is used to ask whether anything is shared, and then forgotten.",
        "return (self._ids_below(node) if length else []), length",
    ),
    mutants=(
        Mutant(
            "(self._ids_below(node) if length else [])",
            "self._ids_below(node)",
            "With nothing in common the walk ends at the root, and below the root are all requests. The answer is [].",
        ),
        Mutant(
            "if length else",
            "if length == len(token_ids) else",
            "Requests that share a part of the prompt count, too, and not only those that share all of it.",
        ),
    ),
)
def check_find_shared_prefixes() -> None:
    for stored, asked, length in (
        ([1, 9], [1, 2], 1),
        ([1, 2], [1, 2], 2),
        ([1, 2, 3], [1, 2], 2),
        ([5], [1, 2], 0),
        ([1, 2, 3, 4], [1, 2, 3, 7, 8], 3),
    ):
        with given(f"a tree that holds {stored}; find_shared_prefixes({asked})"):
            expect(shared(stored, asked), (["a"] if length else [], length), "ids and length")


# --- case 3: silu_mul -------------------------------------------------------------------------------------------


def gated(values: list[float]) -> torch.Tensor:
    """silu(value) * 1 for each value."""
    rows = torch.tensor([[value, 1.0] for value in values])
    out = torch.zeros(len(values), 1)
    module("model_ops/silu_mul.cu").silu_mul_1_elements(rows, out, len(values), 1, 0)
    return out[:, 0]


@LESSON.exercise(
    "10.5",
    title="Case 3, the request that ended in NaN: expose it",
    target="yaie.course.clinic:gate_value",
    minutes=4,
    task='One request in a thousand ends with "the model computed numbers that are not finite". Give a number with '
    "which "
    "the broken `silu_mul_kernel` does not compute z * sigmoid(z).",
    hints=(
        "z * e^z / (1 + e^z) is the same as z / (1 + e^-z), on paper.",
        "The largest float32 is about 3.4e38. For which z is e^z larger?",
        "e^89 is too large: the broken kernel divides infinity by infinity. return 100.0",
    ),
    mutants=(
        Mutant("return 100.0", "return -100.0", "e^-100 is as good as 0, and the quotient of small numbers is fine."),
        Mutant("return 100.0", "return 10.0", "e^10 is 22,026: nothing overflows."),
    ),
    time_limit=20.0,
)
def check_gate_value() -> None:
    z = clinic.gate_value()
    number = isinstance(z, int | float) and not isinstance(z, bool)
    valid(number and math.isfinite(z) and abs(z) <= 1000, z, "a finite number from -1000 to 1000")
    expose("10.6", "silu_mul_kernel", f"gate_value() == {z}", lambda: [round(gated([z]).item(), 4)])


@LESSON.exercise(
    "10.6",
    title="Case 3: mend it",
    target="csrc/model_ops/silu_mul.cu:silu_mul_kernel",
    minutes=5,
    requires=("10.5",),
    task="Mend `silu_mul_kernel`: no finite gate may give infinity or NaN.",
    broken=("z / (1.0f + expf(-z))", "z * expf(z) / (1.0f + expf(z))"),
    hints=(
        "Divide numerator and denominator by e^z.",
        "The only power that is left is e^-z. Where z is very negative it is infinite; what is z / infinity?",
        "from_float<T>(z / (1.0f + expf(-z)))",
    ),
    mutants=(
        Mutant(
            "expf(-z)",
            "expf(z)",
            "The sign of the exponent: sigmoid(z) = 1 / (1 + e^-z), which is near 1 for a large z.",
        ),
        Mutant(
            "z / (1.0f + expf(-z))",
            "fminf(z, 88.0f) / (1.0f + expf(-z))",
            "That cuts off the result as well: silu(100) is 100, and not 88.",
        ),
    ),
)
def check_silu_mul() -> None:
    for values in ([0.0], [1.0, -1.0], [100.0], [-100.0, 300.0, -300.0]):
        with given(f"gates {values}, up 1.0"):
            z = torch.tensor(values, dtype=torch.float64)
            expect(gated(values), (z * torch.sigmoid(z)).float(), "result", tolerance=1e-4)


# --- case 4: gather_pages ---------------------------------------------------------------------------------------


def gathered(table: list[int]) -> torch.Tensor:
    """What is collected along a block table from a pool of 8 blocks of 2 tokens: block b holds 2 b and 2 b + 1."""
    pool = torch.arange(16, dtype=torch.float32).view(8, 2, 1)
    out = torch.full((2 * len(table), 1), -1.0)
    module("memory/gather_pages.cu").gather_pages(pool, torch.tensor(table), out, len(out), 2, 4)
    return out[:, 0]


@LESSON.exercise(
    "10.7",
    title="Case 4, right after the start and wrong at night: expose it",
    target="yaie.course.clinic:block_table",
    minutes=4,
    task="After a restart all answers are right. After some hours long prompts are answered with facts from other "
    "prompts. "
    "Give a block table along which the broken `gather_pages_kernel` collects the wrong tokens.",
    hints=(
        "Which entries of the block table does it read?",
        "It reads the first one only and counts on from there. A fresh pool hands out blocks in a row; an old one does "
        "not.",
        "return [2, 0]: it goes on in block 3.",
    ),
    mutants=(
        Mutant("return [2, 0]", "return [2, 3]", "Block 3 follows block 2, which is what the broken kernel assumes."),
        Mutant("return [2, 0]", "return [2]", "With one block there is nothing after the first."),
    ),
    time_limit=20.0,
)
def check_block_table() -> None:
    table = clinic.block_table()
    ok = isinstance(table, list | tuple) and 1 <= len(table) <= 8 and are_ints(table, 0, 7)
    valid(ok and len(set(table)) == len(table), table, "1 to 8 different block ids from 0 to 7")
    expose("10.8", "gather_pages_kernel", f"block_table() == {table}", lambda: gathered(list(table)))


@LESSON.exercise(
    "10.8",
    title="Case 4: mend it",
    target="csrc/memory/gather_pages.cu:gather_pages_kernel",
    minutes=5,
    requires=("10.7",),
    task="Mend `gather_pages_kernel`: a token lies in the block that the table names for its position.",
    broken=("block_table[position / block_size] * block_size", "(block_table[0] + position / block_size) * block_size"),
    hints=(
        "Which entry of the table is about the token at `position`? (Lesson 02.)",
        "Entry position / block_size names the block; in it the token has row position % block_size.",
        "block_table[position / block_size] * block_size + position % block_size",
    ),
    mutants=(
        Mutant(
            "block_table[position / block_size] * block_size",
            "block_table[position % block_size] * block_size",
            "`position % block_size` is the row in the block. The entry of the table is `position / block_size`.",
        ),
        Mutant(
            "* block_size + position % block_size",
            "* block_size + position",
            "The row counts from the start of the block, so it is `position % block_size`.",
        ),
    ),
)
def check_gather_pages() -> None:
    for table in ([3], [2, 0], [5, 1, 7], [6, 7, 0, 3]):
        with given(f"block table {table}, pages of 2 tokens, block b holds [2 b, 2 b + 1]"):
            wanted = [float(2 * block + row) for block in table for row in range(2)]
            expect(gathered(table).tolist(), wanted, "collected tokens")


# --- case 5: transpose ------------------------------------------------------------------------------------------


def transposed(rows: int, cols: int) -> torch.Tensor:
    """The transpose of a matrix of 0, 1, 2, ..., through a tile in shared memory."""
    x = torch.arange(rows * cols, dtype=torch.float32).view(rows, cols)
    y = torch.full((cols, rows), -1.0)
    module("memory/transpose.cu").transpose_2_tiled(x, y, rows, cols)
    return y


@LESSON.exercise(
    "10.9",
    title="Case 5, tested with 64 x 64 only: expose it",
    target="yaie.course.clinic:rows_and_columns",
    minutes=4,
    task="The author tested the transpose with a matrix of 64 x 64, and with 100 x 100 for good measure. Give a shape "
    "for "
    "which the broken `transpose_tile_kernel` fails.",
    hints=(
        "What do the author's tests have in common?",
        "Look at the second guard: `out_row` is a row of y, which has as many rows as x has columns.",
        "Any matrix that is not square: return 1, 2",
    ),
    mutants=(
        Mutant(
            "return 1, 2", "return 3, 3", "A square matrix has as many rows as columns, and the mistake mixes them up."
        ),
        Mutant("return 1, 2", "return 2, 71", "Rows and columns must be from 1 to 70 here."),
    ),
    time_limit=20.0,
)
def check_rows_and_columns() -> None:
    shape = clinic.rows_and_columns()
    ok = isinstance(shape, list | tuple) and len(shape) == 2 and are_ints(shape, 1, 70)
    valid(ok, shape, "two ints from 1 to 70")
    rows, cols = shape
    text = f"rows_and_columns() == ({rows}, {cols})"
    expose("10.10", "transpose_tile_kernel", text, lambda: transposed(rows, cols))


@LESSON.exercise(
    "10.10",
    title="Case 5: mend it",
    target="csrc/memory/transpose.cu:transpose_tile_kernel",
    minutes=6,
    requires=("10.9",),
    task="Mend `transpose_tile_kernel` for every shape. x is [rows, cols], y is [cols, rows].",
    broken=("if (out_row < cols && out_col < rows) {", "if (out_row < rows && out_col < cols) {"),
    hints=(
        "How many rows does y have, and how many columns?",
        "y is [cols, rows]: its rows are numbered 0 to cols - 1.",
        "if (out_row < cols && out_col < rows) {",
    ),
    mutants=(
        Mutant(
            "if (out_row < cols && out_col < rows) {",
            "if (row < rows && col < cols) {",
            "That asks whether the thread had something to read. It writes another element than it read, so the place "
            "that "
            "it writes to has to be asked about.",
        ),
        Mutant(
            "if (out_row < cols && out_col < rows) {",
            "if (out_row < cols || out_col < rows) {",
            "Both must hold: the row and the column must lie in y.",
        ),
    ),
)
def check_transpose() -> None:
    for rows, cols in ((2, 2), (1, 2), (2, 1), (3, 5), (33, 40), (70, 2)):
        x = torch.arange(rows * cols, dtype=torch.float32).view(rows, cols)
        with given(f"transpose of a {rows} x {cols} matrix of 0, 1, 2, ..."):
            expect(transposed(rows, cols), x.T, "result")


# --- case 6: reshape_and_cache ----------------------------------------------------------------------------------


def stored(slots: list[int]) -> torch.Tensor:
    """A pool of 4 slots of 0 after the tokens 1, 2, ... went to their slots."""
    keys = torch.arange(1, len(slots) + 1, dtype=torch.float32)
    key_cache, value_cache = torch.zeros(4), torch.zeros(4)
    launch = module("memory/reshape_and_cache.cu").reshape_and_cache
    launch(keys, -keys, key_cache, value_cache, torch.tensor(slots), len(slots), 4)
    return key_cache


@LESSON.exercise(
    "10.11",
    title="Case 6, the padding that wrote: expose it",
    target="yaie.course.clinic:slots_of_new_tokens",
    minutes=4,
    task="Since batches are padded to a fixed size, something else in the process breaks now and then, each time "
    "elsewhere. "
    "Give slots with which the broken `reshape_and_cache_kernel` writes where it must not.",
    hints=(
        "What marks a token that is only padding?",
        "A negative slot belongs to nobody. Where is element -1 of an array?",
        "return [-1]: element -1 lies before the start of the pool.",
    ),
    mutants=(
        Mutant("return [-1]", "return [0]", "Slot 0 is a slot like any other."),
        Mutant("return [-1]", "return [4]", "The pool has the slots 0 to 3; nobody promised that slot 4 works."),
    ),
    time_limit=20.0,
)
def check_slots() -> None:
    slots = clinic.slots_of_new_tokens()
    ok = isinstance(slots, list | tuple) and 1 <= len(slots) <= 4 and are_ints(slots, -4, 3)
    used = [slot for slot in slots if slot >= 0] if ok else []
    valid(ok and len(set(used)) == len(used), slots, "1 to 4 slots from -4 to 3, none from 0 on twice")
    text = f"slots_of_new_tokens() == {list(slots)}"
    expose("10.12", "reshape_and_cache_kernel", text, lambda: stored(list(slots)))


@LESSON.exercise(
    "10.12",
    title="Case 6: mend it",
    target="csrc/memory/reshape_and_cache.cu:reshape_and_cache_kernel",
    minutes=5,
    requires=("10.11",),
    task="Mend `reshape_and_cache_kernel`: a token with a negative slot is not stored anywhere.",
    broken=("    if (slot < 0) {\n        return;\n    }\n", ""),
    hints=(
        "What should the threads of a token do if its slot is negative?",
        "Nothing. There is no barrier in this kernel, so they may leave.",
        "if (slot < 0) { return; }",
    ),
    mutants=(
        Mutant("if (slot < 0) {", "if (slot <= 0) {", "Slot 0 is a slot: only negative ones are skipped."),
        Mutant(
            "    const int64_t slot = slot_mapping[token];\n    if (slot < 0) {\n        return;\n    }\n",
            "    const int64_t slot = slot_mapping[token] < 0 ? 0 : slot_mapping[token];\n",
            "Padding now lands in slot 0, which is somebody's token. It must not be stored at all.",
        ),
    ),
)
def check_reshape_and_cache() -> None:
    for slots, pool in (
        ([2], [0, 0, 1, 0]),
        ([-1], [0, 0, 0, 0]),
        ([3, 0], [2, 0, 0, 1]),
        ([1, -1, 0, -4], [3, 1, 0, 0]),
    ):
        with given(f"tokens 1, 2, ... to the slots {slots} of an empty pool"):
            expect(stored(slots).tolist(), list(map(float, pool)), "pool")


# --- case 7: append_tokens --------------------------------------------------------------------------------------


def append_to_fork(num_blocks: int, prompt: int, more: int) -> dict[str, Any]:
    """What "child" has after `append_tokens`: the error, if there was one, its number of blocks, the free blocks."""
    pool = KVCacheManager(num_blocks, 4, 1, 1, dtype=torch.float32)
    pool.allocate_blocks("parent", prompt)
    pool.fork("parent", "child")
    try:
        pool.append_tokens("child", more)
        error = None
    except OutOfBlocksError:
        error = "OutOfBlocksError"
    shares = sum(a == b for a, b in zip(pool.block_tables["parent"], pool.block_tables["child"], strict=False))
    return {
        "error": error,
        "blocks of child": len(pool.block_tables["child"]),
        "of them shared": shares,
        "free blocks": pool.num_free_blocks,
    }


@LESSON.exercise(
    "10.13",
    title="Case 7, the step that failed half-way: expose it",
    target="yaie.course.clinic:pool_and_tokens",
    minutes=6,
    task="When the pool runs full, a request is preempted and tried again later. Each time the pool has a block less. "
    "Give "
    "a pool, a prompt and a number of tokens with which the broken `append_tokens` raises `OutOfBlocksError` after it "
    "has "
    "changed something.",
    hints=(
        "A child shares all blocks of its parent. What does it need before it may write into a last block that is not "
        "full?",
        "It needs a copy of the last block, besides the blocks for its new tokens. Let the pool have enough for one, "
        "and "
        "not for both.",
        "return 2, 1, 4: one block holds the prompt, one is free; five tokens need one block more, and the copy "
        "another.",
    ),
    mutants=(
        Mutant(
            "return 2, 1, 4", "return 3, 1, 4", "With two free blocks there is one for the copy and one for the tokens."
        ),
        Mutant(
            "return 2, 1, 4",
            "return 1, 1, 4",
            "No block is free at all, and that is noticed before anything is changed.",
        ),
    ),
)
def check_pool_and_tokens() -> None:
    case = clinic.pool_and_tokens()
    ok = isinstance(case, list | tuple) and len(case) == 3 and are_ints(case, 1, 32)
    valid(
        ok and case[0] <= 8 and case[1] <= 4 * case[0], case, "num_blocks (1 to 8), a prompt that fits, more (1 to 32)"
    )
    num_blocks, prompt, more = case
    text = f"{num_blocks} blocks of 4; parent: {prompt} tokens; append_tokens('child', {more})"
    expose("10.14", "append_tokens", text, lambda: append_to_fork(*case))


@LESSON.exercise(
    "10.14",
    title="Case 7: mend it",
    target="yaie.kernels.kv_cache:KVCacheManager.append_tokens",
    minutes=6,
    requires=("10.13",),
    task="Mend `append_tokens`: find out whether there are enough blocks for all of it before anything changes.",
    broken=(
        "self._require_free(request_id, num_new_blocks + copies_tail)",
        "self._require_free(request_id, num_new_blocks)",
    ),
    hints=(
        "Which calls below the check take blocks?",
        "`copy_on_write` takes one, if the tail is copied; True counts as 1 in a sum.",
        "self._require_free(request_id, num_new_blocks + copies_tail)",
    ),
    mutants=(
        Mutant(
            "num_new_blocks + copies_tail)",
            "num_new_blocks + 1)",
            "A copy is not always needed: it fails now although there are blocks enough.",
        ),
        Mutant(
            "num_new_blocks + copies_tail)",
            "max(num_new_blocks, copies_tail))",
            "The copy and the new tokens need blocks of their own: add them.",
        ),
    ),
)
def check_append_tokens() -> None:
    for num_blocks, prompt, more, error, blocks, shares, free in (
        (1, 4, 1, True, 1, 1, 0),
        (2, 4, 1, False, 2, 1, 0),
        (2, 1, 4, True, 1, 1, 1),
        (3, 1, 4, False, 2, 0, 0),
        (3, 5, 1, False, 2, 1, 0),
    ):
        text = f"{num_blocks} blocks of 4; parent: {prompt} tokens, child forked; append_tokens('child', {more})"
        with given(text):
            wanted = {
                "error": "OutOfBlocksError" if error else None,
                "blocks of child": blocks,
                "of them shared": shares,
                "free blocks": free,
            }
            expect(append_to_fork(num_blocks, prompt, more), wanted, "state afterwards")


# --- case 8: PrefixCache.match ----------------------------------------------------------------------------------


def evicted_after(prompts: list[list[int]]) -> list[list[int]]:
    """The tokens that are gone from an LFU cache when one token is evicted after these prompts."""
    cache, slots = PrefixCache(page_size=1, policy="lfu"), {}
    for prompt in prompts:
        cache.match(prompt)
        new = [100 * len(slots) + place for place in range(len(prompt))]
        num_present = cache.insert(prompt, new)
        slots |= {new[i]: prompt[: i + 1] for i in range(num_present, len(prompt))}
    return [slots[slot] for slot in cache.evict(1).tolist()]


@LESSON.exercise(
    "10.15",
    title="Case 8, the favourite that was thrown out: expose it",
    target="yaie.course.clinic:prompts_in_order",
    minutes=6,
    task='An operator switches eviction to "lfu", so that the system prompt that everybody uses stays. The hit rate '
    "does "
    "not move. Give prompts after which the broken cache evicts another token than the right one.",
    hints=(
        "What does `lfu` look at, and who counts it?",
        "Nobody counts. All have 0 hits, and among equals the one not used for longest goes: that is LRU.",
        "Use one prompt often and early, another once and late: return [[1], [1], [2]]",
    ),
    mutants=(
        Mutant(
            "[[1], [1], [2]]",
            "[[2], [1], [1]]",
            "Here the token that was found least often is the one not used for longest, too: LRU and LFU agree.",
        ),
        Mutant("[[1], [1], [2]]", "[[1], [2]]", "Nothing was found twice: all have no hits, rightly."),
    ),
)
def check_prompts_in_order() -> None:
    prompts = clinic.prompts_in_order()
    ok = isinstance(prompts, list | tuple) and 1 <= len(prompts) <= 10
    ok = ok and all(isinstance(p, list | tuple) and 1 <= len(p) <= 4 and are_ints(p, 0, 10**6) for p in prompts)
    valid(ok, prompts, "1 to 10 prompts of 1 to 4 token ids")
    expose("10.16", "PrefixCache.match", f"prompts_in_order() == {prompts}", lambda: evicted_after(prompts))


@LESSON.exercise(
    "10.16",
    title="Case 8: mend it",
    target="yaie.engine.prefix_cache:PrefixCache.match",
    minutes=5,
    requires=("10.15",),
    task="Mend `match`: each lookup counts once for every node on its way. `self._touch(path, hits=...)` marks the "
    "nodes of "
    "a path as used now and adds to the hits of each.",
    broken=("self._touch(path, hits=1)", "self._touch(path)"),
    hints=(
        "Which call knows about hits, and what does it add by default?",
        "`_touch(nodes, hits=0)` is also called by `insert`, which is no hit. A lookup is one.",
        "self._touch(path, hits=1)",
    ),
    mutants=(
        Mutant(
            "self._touch(path, hits=1)",
            "self._touch(path[-1:], hits=1)",
            "Only the last node counts the hit. What lies above it was found as well, and is a leaf when the rest is "
            "gone.",
        ),
        Mutant(
            "self._touch(path, hits=1)",
            "self._touch(path, hits=position.length)",
            "A hit is a lookup and not a token: a long prompt that was found once beats a short one that was found "
            "twice.",
        ),
    ),
)
def check_match() -> None:
    for prompts, victim in (
        ([[1], [2]], [[1]]),
        ([[1], [1], [2]], [[2]]),
        ([[1], [1], [1], [2, 3, 4], [2, 3, 4]], [[2], [2, 3], [2, 3, 4]]),
        ([[1], [1], [1], [2], [2], [1]], [[2]]),
    ):
        with given(f"prompts {prompts}, then evict(1) in an LFU cache"):
            expect(evicted_after(prompts), victim, "what was evicted")
    with given("prompts [7], [7, 8], [7, 8], [5], [5], then evict(2) in an LFU cache"):
        cache = PrefixCache(page_size=1, policy="lfu")
        for number, prompt in enumerate([[7], [7, 8], [7, 8], [5], [5]]):
            cache.match(prompt)
            cache.insert(prompt, [10 * number, 10 * number + 1][: len(prompt)])
        expect(sorted(cache.evict(2).tolist()), [11, 30], "slots of what was evicted, [8] and [5]")


# --- case 9: reduce_2 -------------------------------------------------------------------------------------------


def total(launcher: str, n: int) -> float:
    """The sum of 1, 2, ..., n by a launcher of reduce.cu."""
    x, sum_ = torch.arange(1, n + 1, dtype=torch.float32), torch.zeros(1)
    getattr(module("memory/reduce.cu"), launcher)(x, sum_, n)
    return sum_.item()


@LESSON.exercise(
    "10.17",
    title="Case 9, the sum that is always right: expose it",
    target="yaie.course.clinic:numbers_to_add",
    minutes=4,
    task="All tests pass. Once a week the process dies with an illegal address, in a kernel whose results were never "
    "wrong. "
    "Give a number of numbers with which the broken `reduce_2_kernel` reads beyond the last of them.",
    hints=(
        "Its result does not tell. Ask the check mode, or count which elements its threads read.",
        "There are 256 threads in a thread block, and every one of them reads.",
        "Whatever is not a multiple of 256: return 1",
    ),
    mutants=(
        Mutant("return 1", "return 256", "256 threads read 256 numbers: each has one of its own."),
        Mutant("return 1", "return 512", "Two thread blocks of 256 threads read 512 numbers: each has one of its own."),
    ),
    time_limit=20.0,
)
def check_numbers_to_add() -> None:
    n = clinic.numbers_to_add()
    valid(are_ints([n], 1, 4096), n, "an int from 1 to 4096")
    expose("10.18", "reduce_2_kernel", f"numbers_to_add() == {n}", lambda: total("reduce_2_shared", n))


@LESSON.exercise(
    "10.18",
    title="Case 9: mend it",
    target="csrc/memory/reduce.cu:reduce_2_kernel",
    minutes=5,
    requires=("10.17",),
    task="Mend `reduce_2_kernel`: a thread without a number must not read one, even if it does not use it.",
    broken=(
        "    partial[threadIdx.x] = i < n ? x[i] : 0.0f;\n",
        "    const float mine = x[i];\n    partial[threadIdx.x] = i < n ? mine : 0.0f;\n",
    ),
    hints=(
        "The guard comes after the load.",
        "`a ? b : c` evaluates only one of b and c. Put the load into it.",
        "partial[threadIdx.x] = i < n ? x[i] : 0.0f;",
    ),
    mutants=(
        Mutant(
            "i < n ? x[i] : 0.0f",
            "x[i < n ? i : 0]",
            "Nothing is read out of bounds any more, but threads without a number now add the first one again.",
        ),
        Mutant("i < n ? x[i]", "i <= n ? x[i]", "Numbers are at 0 to n - 1: thread n has none."),
    ),
)
def check_reduce_2() -> None:
    for n in (256, 1, 5, 300, 1000):
        with given(f"the sum of 1, 2, ..., {n}"):
            expect(total("reduce_2_shared", n), n * (n + 1) / 2, "sum")


# --- case 10: Scheduler.schedule --------------------------------------------------------------------------------


def steps_of(arrivals: list[tuple[int, int]], num_steps: int = 30) -> list[dict[str, int]]:
    """What each step computes: the number of tokens of every running request, 0 for one that waits for its turn."""
    pages = Pages(KVCacheManager(64, 4, 1, 1), prefix_cache=False)
    scheduler = Scheduler(pages, max_num_batched_tokens=8, max_num_seqs=8)
    record = []
    for step in range(num_steps):
        for number, (arrival, prompt) in enumerate(arrivals):
            if arrival == step:
                tokens = [100 * number + place for place in range(prompt)]
                scheduler.add(Request(f"r{number}", tokens, prompt, SamplingParams(), number, 6, TextStream(None)))
        decodes = {request.request_id: 0 for request in scheduler.running if request.is_decode}
        batch = scheduler.schedule()
        record.append(decodes | {request.request_id: num_tokens for request, num_tokens in batch.items()})
        for request, num_tokens in batch.items():
            request.num_computed_tokens += num_tokens
            if request.num_uncomputed_tokens == 0:
                request.token_ids.append(7)
            if request.num_output_tokens == 6:
                scheduler.finish(request, "length")
        if not scheduler.running and not scheduler.waiting and step >= max(a for a, _ in arrivals):
            break
    return record


@LESSON.exercise(
    "10.19",
    title="Case 10, the answer that stood still: expose it",
    target="yaie.course.clinic:arrivals",
    minutes=6,
    task="While somebody pastes a long text, everybody else's answer stands still. Give requests with which the broken "
    "`Scheduler.schedule` gives no token to a request that only waits for its next one.",
    hints=(
        "Who is served first from the budget of a step?",
        "Let one request decode. Then let a prompt come that uses up the budget of 8 tokens for more than one step.",
        "return [(0, 1), (1, 16)]",
    ),
    mutants=(
        Mutant("(1, 16)", "(1, 4)", "4 of the 8 tokens are left: the budget is enough for both."),
        Mutant("(1, 16)", "(8, 16)", "When the long prompt comes, the first request has ended: it generates 6 tokens."),
    ),
)
def check_arrivals() -> None:
    case = clinic.arrivals()
    ok = isinstance(case, list | tuple) and 1 <= len(case) <= 4
    ok = ok and all(isinstance(r, list | tuple) and len(r) == 2 and are_ints(r, 0, 40) for r in case)
    valid(ok and all(r[0] <= 8 and r[1] >= 1 for r in case), case, "1 to 4 pairs (step 0 to 8, tokens 1 to 40)")

    def starved() -> list[str]:
        return [f"step {i}: {who}" for i, step in enumerate(steps_of(case)) for who, n in step.items() if n == 0]

    expose("10.20", "Scheduler.schedule", f"arrivals() == {list(case)}; decodes without a token", starved)


@LESSON.exercise(
    "10.20",
    title="Case 10: mend it",
    target="yaie.engine.scheduler:Scheduler.schedule",
    minutes=6,
    requires=("10.19",),
    task="Mend `schedule`: requests that decode take their one token first; prompts share what is left of the budget.",
    broken=("key=lambda request: not request.is_decode", "key=lambda request: request.is_decode"),
    hints=(
        "In which order does the first loop go through the running requests?",
        "`sorted` puts False before True.",
        "key=lambda request: not request.is_decode",
    ),
    mutants=(
        Mutant(
            "not request.is_decode",
            "-request.arrival",
            "The latest comer first is no better: a prompt that came after a decode goes before it.",
        ),
        Mutant(
            "                budget -= num_tokens\n",
            "",
            "The budget is never reduced, so a step computes more tokens than it may.",
        ),
    ),
)
def check_schedule() -> None:
    for case, wanted in (
        ([(0, 3)], [{"r0": 3}, {"r0": 1}]),
        ([(0, 1), (1, 16)], [{"r0": 1}, {"r0": 1, "r1": 4}, {"r0": 1, "r1": 4}]),
        ([(0, 10), (0, 9)], [{"r0": 8}, {"r0": 2, "r1": 4}, {"r0": 1, "r1": 5}]),
    ):
        with given(f"arrivals {case} (step, tokens of the prompt), 8 tokens in a step, pages of 4"):
            expect(steps_of(case)[: len(wanted)], wanted, "work of the first steps")


# --- case 11: take_scores ---------------------------------------------------------------------------------------


def mean_by_scores(scores: list[float]) -> float:
    """The mean of 0, 1, 2, ... weighted by softmax(scores): attention of one query with a head of 8 numbers."""
    n = len(scores)
    query, key = torch.zeros(1, 1, 8), torch.zeros(n, 1, 8)
    query[..., 0] = 1
    key[:, 0, 0] = torch.tensor(scores)
    value = torch.arange(n, dtype=torch.float32).view(n, 1, 1).repeat(1, 1, 8)
    out = torch.zeros(1, 1, 8)
    starts = [torch.tensor([0, length], dtype=torch.int32) for length in (1, n)]
    launch = module("flash_attention/flash_attention_2_tiles.cu").flash_attention_2_tiles
    launch(query, key, value, out, *starts, 1, 1, 1, 1, 8, 1.0, 0, 0)
    return out[0, 0, 0].item()


@LESSON.exercise(
    "10.21",
    title="Case 11, right up to 32: expose it",
    target="yaie.course.clinic:scores_of_keys",
    minutes=6,
    task="Flash attention takes 32 keys at a time. Its first author tested it with 16 and with 32 keys. Give scores "
    "for which "
    "the broken `take_scores` makes the weighted mean of the values wrong.",
    hints=(
        "What happens in the second tile that does not happen in the first?",
        "When a larger score comes, what was added up before is too large and must be scaled down.",
        "Let the largest score lie in the second tile: return [0.0] * 32 + [1.0]",
    ),
    mutants=(
        Mutant("[0.0] * 32 + [1.0]", "[0.0] * 31 + [1.0]", "32 keys are one tile: there is no second one to go wrong."),
        Mutant(
            "[0.0] * 32 + [1.0]",
            "[1.0] + [0.0] * 32",
            "The largest score comes in the first tile, so nothing has to be scaled later.",
        ),
    ),
    time_limit=20.0,
)
def check_scores_of_keys() -> None:
    scores = clinic.scores_of_keys()
    ok = isinstance(scores, list | tuple) and 1 <= len(scores) <= 100
    ok = ok and all(isinstance(s, int | float) and not isinstance(s, bool) and -20 <= s <= 20 for s in scores)
    valid(ok, scores, "1 to 100 numbers from -20 to 20")
    text = f"scores_of_keys() == {list(scores)}"
    expose("10.22", "take_scores", text, lambda: round(mean_by_scores(list(map(float, scores))), 3))


@LESSON.exercise(
    "10.22",
    title="Case 11: mend it",
    target="csrc/flash_attention/flash_attention_2_tiles.cu:take_scores",
    minutes=8,
    requires=("10.21",),
    task="Mend `take_scores`: `rescale` is the factor that takes sums made with the old maximum to the new one.",
    broken=("rescale = expf(row.most - most);", "rescale = 1.0f;"),
    hints=(
        "A weight was exp(score - old maximum) and should be exp(score - new maximum). What is the quotient?",
        "exp(a) / exp(b) = exp(a - b). The new maximum is not smaller, so the factor is at most 1.",
        "rescale = expf(row.most - most);",
    ),
    mutants=(
        Mutant(
            "expf(row.most - most)",
            "expf(most - row.most)",
            "The factor is upside down: with a larger maximum the old weights become smaller.",
        ),
        Mutant(
            "row.sum = row.sum * rescale + warp_sum(weight);",
            "row.sum += warp_sum(weight);",
            "The sum of the weights was made with the old maximum as well: it needs the same factor.",
        ),
    ),
)
def check_take_scores() -> None:
    for name, scores in (
        ("0, 1, 2", [0.0, 1.0, 2.0]),
        ("32 times 0, then 1", [0.0] * 32 + [1.0]),
        ("1, then 64 times 0", [1.0] + [0.0] * 64),
        ("0.1 * j for j < 100", [0.1 * j for j in range(100)]),
    ):
        with given(f"scores {name}; values 0, 1, 2, ..."):
            weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
            mean = (weights * torch.arange(len(scores))).sum().item()
            expect(mean_by_scores(scores), mean, "weighted mean", tolerance=1e-3)


# --- case 12: reduce_3 ------------------------------------------------------------------------------------------


@LESSON.exercise(
    "10.23",
    title="Case 12, the race that is nearly always won: expose it",
    target="yaie.course.clinic:numbers_that_race",
    minutes=5,
    task="The sum is right in every test, and on the server it is a little too small, once in a while. Give a "
    "number of "
    "numbers with which two threads of the broken `reduce_3_kernel` race.",
    hints=(
        "Which memory do several threads write? Is anybody alone with it?",
        "One thread of each thread block adds to `total`. How many numbers are there when there are two thread blocks?",
        "More than 256: return 257",
    ),
    mutants=(
        Mutant("return 257", "return 256", "256 numbers are one thread block, and its only writer is alone."),
        Mutant("return 257", "return 0", "With no numbers at all there is nobody to race: 1 to 4096, please."),
    ),
    time_limit=20.0,
)
def check_numbers_that_race() -> None:
    n = clinic.numbers_that_race()
    valid(are_ints([n], 1, 4096), n, "an int from 1 to 4096")
    expose("10.24", "reduce_3_kernel", f"numbers_that_race() == {n}", lambda: total("reduce_3_shuffle", n))


@LESSON.exercise(
    "10.24",
    title="Case 12: mend it",
    target="csrc/memory/reduce.cu:reduce_3_kernel",
    minutes=6,
    requires=("10.23",),
    task="Mend `reduce_3_kernel`: thread blocks run at the same time, and each of them adds its sum to the same "
    "number.",
    broken=("atomicAdd(total, sum);", "*total += sum;"),
    hints=(
        "`*total += sum` reads, adds and writes. What if another thread block writes in between?",
        "An operation that nobody can come between is called atomic.",
        "atomicAdd(total, sum);",
    ),
    mutants=(
        Mutant(
            "        if (lane == 0) {\n            atomicAdd(total, sum);\n        }\n",
            "        atomicAdd(total, sum);\n",
            "All 32 lanes of the warp add now, and only lane 0 has the sum of all.",
        ),
        Mutant(
            "            atomicAdd(total, sum);\n",
            "            if (blockIdx.x == 0) {\n                *total += sum;\n            }\n",
            "Nobody races when only one thread block adds its sum; but the sums of the others are missing.",
        ),
    ),
)
def check_reduce_3() -> None:
    for n in (1, 256, 257, 1000):
        with given(f"the sum of 1, 2, ..., {n}"):
            expect(total("reduce_3_shuffle", n), n * (n + 1) / 2, "sum")
