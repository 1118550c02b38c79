"""Lesson 00: how an exercise works, on a function of one line."""

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import kv_cache

LESSON = Lesson(0, "start_here", "Start here", minutes=15)


@LESSON.exercise(
    "0.1",
    title="How many blocks?",
    target="yaie.kernels.kv_cache:KVCacheManager.blocks_needed",
    minutes=3,
    time_limit=5.0,
    task="The engine stores tokens in blocks of `block_size` tokens. Return the number of blocks that `num_tokens` "
    "tokens need. With `self.block_size` = 16: 20 tokens need 2 blocks, 32 tokens need 2, 33 need 3.",
    hints=(
        "A block that is only partly filled still counts as a block.",
        "Python's `//` divides and rounds down. You want the quotient rounded up.",
        "Rounding up is rounding down after adding `self.block_size - 1` to `num_tokens`.",
    ),
    mutants=(
        Mutant(
            "-(-num_tokens // self.block_size)",
            "num_tokens // self.block_size",
            "`//` rounds down, so the last block, which is only partly filled, was not counted.",
        ),
        Mutant(
            "-(-num_tokens // self.block_size)",
            "num_tokens // self.block_size + 1",
            "Adding 1 after the division gives one block too many whenever the last block is exactly full.",
        ),
        Mutant(
            "-(-num_tokens // self.block_size)",
            "-(-num_tokens / self.block_size)",
            "`/` gives a float; a number of blocks is a whole number, so divide with `//`.",
        ),
    ),
)
def check_blocks_needed() -> None:
    for block_size in (4, 1, 16):
        manager = kv_cache.KVCacheManager(num_blocks=1, block_size=block_size, num_heads=1, head_dim=1)
        for num_tokens in (1, block_size, block_size + 1, 2 * block_size, 5 * block_size - 1, 4097):
            with given(f"blocks_needed({num_tokens}) with block_size {block_size}"):
                got = manager.blocks_needed(num_tokens)
                expect(type(got), int, "type of the result")
                expect(got, len(range(0, num_tokens, block_size)), "number of blocks")
