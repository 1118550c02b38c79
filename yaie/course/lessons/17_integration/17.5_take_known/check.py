from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models import batch
from yaie.models.loader import load_model

from ..common import NoLooks

LOOKS = (
    "The numbers are right, but the host looked at one.",
    "To look at a number is to wait for the step before: compute for all rows, and choose with `torch.where`.",
)
CASES: tuple[tuple[list[int], list[int], list[int]], ...] = (
    # the batch, what the step before gives, the batch without places
    ([-1], [40], [40]),
    ([7], [40], [7]),
    ([-1, -2], [40, 41], [40, 41]),
    ([-2, -1], [40, 41], [41, 40]),
    ([0, -2], [40, 41], [0, 41]),
    ([-1, -2, 0], [40, 41], [40, 41, 0]),
    ([700, -1], [40, 41], [700, 40]),
    ([5, 700, 6, -3, 0], [40, 41, 42], [5, 700, 6, 42, 0]),
    ([-3, -2], [40, 41, -1], [0, 41]),
    ([-2, 9, -1], [-1, -1, 42], [0, 9, 0]),
    ([-2], [40, 0], [0]),
    ([3, 4, 5], [-1], [3, 4, 5]),
)


def _rule(got: object, token_ids: list[int], tokens: list[int], known: list[int]) -> str:
    """What belongs into the first row that is wrong."""
    if not isinstance(got, torch.Tensor) or got.shape != (len(known),):
        return ""
    row = next((row for row, (one, other) in enumerate(zip(got.tolist(), known, strict=True)) if one != other), None)
    if row is None:
        return ""
    token_id, place = token_ids[row], -1 - token_ids[row]
    if token_id >= 0:
        return f"Row {row} holds token {token_id}, which is known."
    nothing = " Take token 0 for it." if tokens[place] < 0 else ""
    return f"Row {row} holds {token_id}, which is place {place}, and `tokens[{place}]` is {tokens[place]}.{nothing}"


def check() -> None:
    for token_ids, tokens, known in CASES:
        with given(f"take_known({token_ids}, tokens={tokens})"):
            given_tokens = torch.tensor(tokens)
            got = batch.take_known(torch.tensor(token_ids), given_tokens)
            expect(got, torch.tensor(known), "token ids", note=_rule(got, token_ids, tokens, known))
            expect(given_tokens.tolist(), tokens, "`tokens` afterwards", note="The host finds errors by the -1 there.")
    token_ids, given_tokens = torch.tensor([5, -2, -1]), torch.tensor([40, 41])
    with given("take_known([5, -2, -1], tokens=[40, 41]), where the host must not look at a number"):
        with NoLooks(*LOOKS):
            got = batch.take_known(token_ids, given_tokens)
        expect(got.tolist(), [5, 41, 40], "token ids")
    model = load_model("tiny")
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    lengths = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in (3, 6, 5)]
    with given(f"LLM('tiny', overlap=True) answers {prompts} with 3, 6 and 5 tokens"):
        answers = []
        for overlap in (False, True):
            llm = LLM(model, backend="torch", num_blocks=16, overlap=overlap)
            answers.append([output.token_ids for output in llm.generate(prompts, lengths)])
        expect(answers[1], answers[0], "tokens, which are those without overlap")
