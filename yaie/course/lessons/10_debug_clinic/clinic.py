"""Inputs that tell broken parts of the engine from right ones: lesson 10 has learners find them before they fix them.

Each function gives the input of one case, as small as it can be. What is wrong with the part is recorded once, as the
`broken` of the exercise that fixes it.
"""

from __future__ import annotations


def floats_per_block() -> int:
    """Case 1: a size of a block, in float32 numbers, at which the broken `copy_blocks_kernel` does not copy all of it.

    A cache of one layer and two blocks is filled with 0, 1, 2, ...; block 0 is copied to block 1, one number at a time
    (`copy_blocks_1_elements`).

    Returns:
        how many numbers a block has, 1 to 4096
    """
    return 257


def stored_and_asked() -> tuple[list[int], list[int]]:
    """Case 2: two prompts for which the broken `find_shared_prefixes` promises more than they share.

    The first prompt is inserted into an empty `RadixTree`, then the second is looked up.

    Returns:
        two lists of at most 8 token ids, neither of them empty
    """
    return [1, 9], [1, 2]


def gate_value() -> float:
    """Case 3: a number that the broken `silu_mul_kernel` cannot work with.

    One row with this number as the gate and 1.0 as up, in float32. silu(z) = z * sigmoid(z) is finite for every finite
    z.

    Returns:
        a finite number between -1000 and 1000
    """
    return 100.0


def block_table() -> list[int]:
    """Case 4: a block table along which the broken `gather_pages_kernel` collects the wrong tokens.

    The pool has 8 blocks of 2 tokens with one number each: block b holds 2 b and 2 b + 1. All tokens of the blocks in
    the table are collected.

    Returns:
        1 to 8 block ids from 0 to 7, each at most once, in the order of the request's positions
    """
    return [2, 0]


def rows_and_columns() -> tuple[int, int]:
    """Case 5: the shape of a matrix that the broken `transpose_tile_kernel` does not transpose.

    Returns:
        rows and columns, each from 1 to 70
    """
    return 1, 2


def slots_of_new_tokens() -> list[int]:
    """Case 6: where new tokens go, so that the broken `reshape_and_cache_kernel` writes to memory that is not its own.

    The pool has 4 slots. A token with a negative slot belongs to nobody and is not stored (padding, see csrc).

    Returns:
        1 to 4 slots, one per token, each from -4 to 3; no slot from 0 on twice
    """
    return [-1]


def pool_and_tokens() -> tuple[int, int, int]:
    """Case 7: a pool that runs out of blocks in the middle of the broken `append_tokens`.

    In a pool with blocks of 4 tokens, "parent" gets blocks for `prompt` tokens and "child" is forked from it. Then
    `append_tokens("child", more)` must either do all of its work or raise `OutOfBlocksError` and change nothing.

    Returns:
        num_blocks (1 to 8), prompt (at least 1; the pool must hold it), more (1 to 32)
    """
    return 2, 1, 4


def prompts_in_order() -> list[list[int]]:
    """Case 8: prompts after which the broken cache with the policy "lfu" evicts another token than the right one.

    Each prompt is looked up (`match`) in a `PrefixCache` with pages of one token and then published (`insert`), one
    after the other. Then one token is evicted: of a leaf that fewest lookups have found; among equals, the one not used
    for longest.

    Returns:
        1 to 10 prompts of 1 to 4 token ids
    """
    return [[1], [1], [2]]


def numbers_to_add() -> int:
    """Case 9: how many numbers the broken `reduce_2_kernel` must add up to be seen reading beyond the last of them.

    Its sum is always right.

    Returns:
        1 to 4096
    """
    return 1


def arrivals() -> list[tuple[int, int]]:
    """Case 10: requests that make the broken `Scheduler.schedule` leave a decode without its token.

    Pages have 4 tokens, a step computes at most 8 tokens, all requests may run at once, and each generates 6 tokens. A
    running request that waits only for its next token must get it in every step.

    Returns:
        1 to 4 requests: (step in which it arrives, 0 to 8; tokens of its prompt, 1 to 40)
    """
    return [(0, 1), (1, 16)]


def scores_of_keys() -> list[float]:
    """Case 11: scores of keys for which attention with the broken `take_scores` gives the wrong mean of the values.

    One query; key j has the score that you give and the value j. A tile has 32 keys.

    Returns:
        1 to 100 scores from -20 to 20
    """
    return [0.0] * 32 + [1.0]


def numbers_that_race() -> int:
    """Case 12: how many numbers the broken `reduce_3_kernel` must add up for two of its threads to race.

    Its sum is nearly always right.

    Returns:
        1 to 4096
    """
    return 257
