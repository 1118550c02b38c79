# expect: There is a better way.
from functools import cache


@cache
def choose_splits(num_blocks, max_context_len, num_multiprocessors):
    if not num_blocks or max_context_len <= 64:
        return (1, 64)
    split_tokens = 64
    while num_blocks * -(-max_context_len // split_tokens) > 3 * num_multiprocessors and split_tokens < max_context_len:
        split_tokens *= 2
    return (-(-max_context_len // split_tokens), split_tokens)
