"""Inputs that tell broken parts of the engine from right ones: lesson 10 has learners find them before they fix them.

Each function gives the input of one case, as small as it can be. What is wrong with the part is recorded once, as the
`broken` of the exercise that fixes it.
"""

from __future__ import annotations


def num_layers() -> int:
    """Case 1: a number of layers with which the broken `launch_copy` does not copy a block in each, keys and values.

    A cache has two blocks of four numbers in each layer; block 0 is copied to block 1.

    Returns:
        the number of layers, 1 to 8
    """
    return 3


def stored_and_asked() -> tuple[list[int], list[int]]:
    """Case 2: two prompts for which the broken `find_shared_prefixes` promises more than they share.

    The first prompt is inserted into an empty `RadixTree`, then the second is looked up.

    Returns:
        two lists of at most 8 token ids, neither of them empty
    """
    return [1, 9], [1, 2]


def logit_to_punish() -> float:
    """Case 3: the logit of a token that the broken `apply_penalties` makes more likely, and not less.

    The token is in the prompt, and the repetition penalty is 2.

    Returns:
        a number from -20 to 20
    """
    return -3.0


def comings_and_goings() -> list[tuple]:
    """Case 4: what happens in a pool until the broken `_drop_references` has given away a block that is in use.

    The pool has 8 blocks of 4 tokens.

    Returns:
        1 to 8 events, each possible: ("new", name, tokens), ("fork", name, new name) or ("end", name)
    """
    return [("new", "a", 4), ("fork", "a", "b"), ("end", "a")]


def rows_and_columns() -> tuple[int, int]:
    """Case 5: the shape of a matrix that is not transposed with the grid of the broken `grid_of`.

    Returns:
        rows and columns, each from 1 to 70
    """
    return 1, 33


def ids_of_tokens() -> list[int]:
    """Case 6: token ids for which the broken `embedding_kernel` reads memory outside the table.

    The table has 4 rows. An id without a row must give NaN, and nothing may be read for it.

    Returns:
        1 to 4 token ids, each from -4 to 9
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


def sums_in_turn() -> list[int]:
    """Case 9: how many numbers the broken `reduce_2_shared` must add up, call by call, for a sum to be wrong.

    All sums go into the same tensor, which holds 0 at the start.

    Returns:
        1 to 4 numbers of elements, each from 1 to 4096
    """
    return [1, 1]


def arrivals() -> list[tuple[int, int]]:
    """Case 10: requests that make the broken `Scheduler.schedule` leave a decode without its token.

    Pages have 4 tokens, a step computes at most 8 tokens, all requests may run at once, and each generates 6 tokens. A
    running request that waits only for its next token must get it in every step.

    Returns:
        1 to 4 requests: (step in which it arrives, 0 to 8; tokens of its prompt, 1 to 40)
    """
    return [(0, 1), (1, 16)]


def past_and_new() -> tuple[int, int]:
    """Case 11: past and new tokens for which the broken `causal_attention` masks the wrong keys.

    With 65,536 heads, a tile has 64 // (past + new) queries.

    Returns:
        the number of past tokens, and of new ones (at least 1); together at most 24
    """
    return 0, 10


def fewest_that_race() -> int:
    """Case 12: how many numbers the broken `reduce_1_kernel` must at least add up for two of its threads to race.

    Returns:
        1 to 4096
    """
    return 2
