# expect: There is a better way.
from functools import cache


@cache
def choose_splits(num_blocks: int, max_context_len: int, num_multiprocessors: int) -> tuple[int, int]:
    """As many blocks as run at a time, whatever is left over."""
    if num_blocks == 0 or max_context_len <= 64:
        return 1, 64
    most = -(-max_context_len // 64)
    num_splits = max(1, min(most, 3 * num_multiprocessors // num_blocks))
    return num_splits, -(-max_context_len // num_splits)
