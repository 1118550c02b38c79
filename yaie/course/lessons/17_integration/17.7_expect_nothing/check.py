from __future__ import annotations

from typing import Any

from yaie.course.expect import expect, given
from yaie.engine.llm import LLM
from yaie.engine.output import TextStream
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.radix_tree import Node
from yaie.models.loader import load_model

NOTHING = "No step is in flight, so nothing changes."
CASES: tuple[tuple[list[int], list[int], int, int, int], ...] = (
    # prompt, known tokens of the answer, most that it may have, steps in flight, tokens computed without these
    ([5, 6], [40], 9, 0, 2),
    ([5, 6], [40], 9, 1, 2),
    ([5, 6], [40], 2, 1, 2),
    ([5, 6, 7], [], 9, 0, 1),
    ([5, 6, 7], [574, 300], 9, 1, 4),
    ([5, 6, 7], [574, 300], 3, 1, 4),
    ([5, 6, 7], [574, 300], 9, 2, 4),
    ([5, 6, 7], [574, 300], 4, 2, 4),
)


def check() -> None:
    for prompt, answer, max_tokens, num_steps, computed in CASES:
        request = Request("r", prompt, SamplingParams(), 0, max_tokens, TextStream(None))
        for token in answer:
            request.append(token)
        node = Node(request.prompt_token_ids[:2], None)
        request.hold(node, 2 if computed >= 2 else 0, computed)
        published = request.num_published_tokens
        for _ in range(num_steps):
            request.hold(node, published, request.num_computed_tokens + 1)
            request.expect(0)
        with given(
            f"token_ids {request.token_ids.tolist()}, at most {max_tokens} tokens of an answer, num_pending "
            f"{num_steps}, num_computed_tokens {request.num_computed_tokens}; request.expect_nothing()"
        ):
            before = request.num_tokens
            request.expect_nothing()
            note = _count_rule(request.num_tokens, before, num_steps)
            expect(request.token_ids.tolist(), [*prompt, *answer], "request.token_ids", note=note)
            expect(request.num_pending, 0, "request.num_pending")
            note = f"Without the steps in flight, {computed} tokens are computed." if num_steps else NOTHING
            expect(request.num_computed_tokens, computed, "request.num_computed_tokens", note=note)
            kept = request.locked_node is node, request.num_published_tokens
            expect(kept, (True, published), "(locked_node is the same, num_published_tokens)")
    _check_engine(load_model("tiny"))


def _count_rule(now: int, before: int, num_steps: int) -> str:
    """What is to be known of a wrong number of tokens."""
    if now == before - num_steps:
        return "A token was dropped for each that is pending. A very last token is pending, too, but has no place."
    return "`num_known_tokens` is counted from `num_pending` and `num_computed_tokens`: it changes when they do."


def _check_engine(model: Any) -> None:
    prompts, reuse = [[5, 6, 7], [8, 9]], [5, 6, 7]
    with given(f"LLM('tiny', overlap=True, num_blocks=4) answers {prompts}: one is preempted, or aborted in flight"):
        found = []
        for overlap in (False, True):
            llm = LLM(model, backend="torch", block_size=4, num_blocks=4, overlap=overlap)
            params = SamplingParams(temperature=0, max_tokens=10, ignore_eos=True)
            tokens = [output.token_ids for output in llm.generate(prompts, params)]
            id = llm.add_request(reuse, params)
            for _ in range(4 + overlap):  # so many that both have the same tokens
                llm.step()
            aborted = llm.abort(id).token_ids
            llm.check_integrity()
            found.append((tokens, aborted, llm.generate([reuse], params)[0].token_ids))
        expect(found[1], found[0], "tokens of both, of the aborted one, and of its prompt again")
