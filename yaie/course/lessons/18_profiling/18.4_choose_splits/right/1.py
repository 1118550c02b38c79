from functools import cache

from yaie.kernels.ops.paged_attention import RESIDENT_BLOCKS, SHARE_THAT_SATURATES, START_TOKENS


@cache
def choose_splits(num_blocks, max_context_len, num_multiprocessors):
    if num_blocks == 0 or max_context_len <= 64:
        return 1, 64
    at_a_time = RESIDENT_BLOCKS * num_multiprocessors

    def estimate(num_splits):
        waves, rest = divmod(num_blocks * num_splits, at_a_time)
        if rest:
            waves += max(rest / at_a_time, SHARE_THAT_SATURATES)
        return waves * ((max_context_len + num_splits - 1) // num_splits + START_TOKENS)

    most = (max_context_len + 63) // 64
    best = min(range(1, most + 1), key=estimate)
    return best, (max_context_len + best - 1) // best
