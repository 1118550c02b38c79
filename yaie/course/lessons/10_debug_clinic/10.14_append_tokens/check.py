from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import append_to_fork


def check() -> None:
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
