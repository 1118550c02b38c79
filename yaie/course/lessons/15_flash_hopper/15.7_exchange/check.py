from __future__ import annotations

import torch

from yaie.course.expect import expect, given, named

from ..common import WGMMA, launchers


def check() -> int:
    module = launchers(WGMMA, __file__)
    generator = torch.Generator().manual_seed(0)
    lanes = torch.arange(32)
    tens = (100 * (lanes // 4) + 10 * (lanes % 4))[:, None] + torch.arange(4)
    for what, words in (
        ("word i of lane q of quad k is 100 k + 10 q + i, one warp", tens),
        ("each word is a number of its own, four warps", torch.randperm(512, generator=generator).view(128, 4)),
    ):
        words, swapped = words.int(), words.view(-1, 4, 4).transpose(1, 2).reshape(-1, 4)
        with given(f"exchange(words): {what}"):
            found = torch.full_like(words, -1)
            module.exchange_alone(words, found, len(words), 1)
            kept = named(found.tolist(), [(words.tolist(), "the words as they were: none has moved")])
            expect(found, swapped.int(), "words of each thread", note=kept, axes="thread word")
        with given(f"exchange(words), twice, which changes nothing: {what}"):
            module.exchange_alone(words, found, len(words), 2)
            expect(found, words, "words of each thread", axes="thread word")
    with given("profile of an exchange by one warp"):
        module.exchange_alone(tens.int(), torch.zeros(32, 4).int(), 32, 1)
        profile = module.profile()
        counted = profile.shuffles + sum(line.wavefronts for line in profile.lines)
        note = "A shuffle brings a lane one word. Memory of the card, votes and 64-bit shuffles are not scored here."
        expect(counted, max(counted, 3), "number of shuffles and wavefronts for the three words of others", note=note)
        return counted
