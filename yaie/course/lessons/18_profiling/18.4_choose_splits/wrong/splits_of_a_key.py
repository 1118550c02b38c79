# expect: The number of splits is wrong.
from functools import cache


@cache
def choose_splits(num_blocks, max_context_len, num_multiprocessors):
    if num_blocks == 0 or max_context_len <= 64:
        return 1, 64
    return max_context_len, 1
