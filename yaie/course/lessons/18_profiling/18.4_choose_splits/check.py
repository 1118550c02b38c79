from __future__ import annotations

from yaie.course.expect import Mismatch, expect, given
from yaie.kernels.ops import paged_attention

# Blocks that are not split, keys of a context, multiprocessors. One card has room for few blocks.
NOTHING_TO_SPLIT = ((0, 4096, 132), (8, 64, 132), (8, 1, 132))
DECODES = (
    (8, 8192, 132),
    (1, 65, 132),
    (1, 128, 132),
    (8, 1000, 132),
    (32, 4096, 132),
    (100, 2048, 132),
    (256, 8192, 132),
    (400, 8192, 132),
    (512, 4096, 132),
    (4, 32_768, 8),
)


def check() -> int:
    for decode in NOTHING_TO_SPLIT:
        with given(_named(decode)):
            expect(_chosen(decode), (1, 64), "number of splits and keys of each")
    total = 0.0
    for decode in DECODES:
        with given(_named(decode)):
            total += _estimate(decode, *_checked(decode))
    return round(total)


def _named(decode: tuple[int, int, int]) -> str:
    return "choose_splits(num_blocks={}, max_context_len={}, num_multiprocessors={})".format(*decode)


def _chosen(decode: tuple[int, int, int]) -> tuple[int, int]:
    chosen = paged_attention.choose_splits(*decode)
    if not isinstance(chosen, tuple | list) or [type(each) for each in chosen] != [int, int]:
        raise Mismatch("result", f"{chosen!r}", "two ints")
    return tuple(chosen)


def _checked(decode: tuple[int, int, int]) -> tuple[int, int]:
    num_splits, split_tokens = _chosen(decode)
    keys, most = decode[1], -(-decode[1] // 64)
    if num_splits < 1 or split_tokens < 1:
        raise Mismatch("number of splits and keys of each", f"{(num_splits, split_tokens)}", "at least 1 of both")
    expect(min(num_splits * split_tokens, keys), keys, "number of keys that the splits take together")
    if num_splits > most:
        note = f"{keys} / 64, rounded up, is {most}. The first number is how many splits, the second how many keys."
        raise Mismatch("number of splits", f"{num_splits}", f"at most {most}", note=note)
    return num_splits, split_tokens


def _estimate(decode: tuple[int, int, int], num_splits: int, split_tokens: int) -> float:
    """The time of a decode, in keys that a block reads one after the other."""
    num_blocks, _, num_multiprocessors = decode
    whole, rest = divmod(num_blocks * num_splits, 3 * num_multiprocessors)
    share = max(rest / (3 * num_multiprocessors), 0.8) if rest else 0.0
    return (whole + share) * (split_tokens + 64)
