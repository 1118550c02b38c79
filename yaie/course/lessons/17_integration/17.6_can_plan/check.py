from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

from yaie.course.expect import expect, given
from yaie.engine.engine import Flight
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models.loader import load_model

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PROMPTS = [[5, 6, 7], [8, 9]]
AS_LONG = [[5, 6, 7], [8, 9, 10]]  # both need a page in the same step
IN_FLIGHT: tuple[list[bool], ...] = ([], [True], [False], [True, True], [True, False], [False, True])


def check() -> None:
    model = load_model("tiny")
    # In which step these prompts lack a page, and have pages in the cache, depends on the size of the pool.
    for prompts, num_pages, num_steps in ((PROMPTS, 5, 3), (PROMPTS, 3, 7), (PROMPTS, 4, 7), (AS_LONG, 5, 7)):
        llm = _engine(model, num_pages, overlap=False)
        for prompt in prompts:
            llm.add_request(prompt, GREEDY)
        for done in range(num_steps):
            for stays in IN_FLIGHT if done >= 2 else ([],):  # steps of prompts do not stay
                _check_answer(llm, num_pages, stays)
            llm.step()
    for num_pages in (16, 4):
        with given(f"LLM('tiny', overlap=True) answers {PROMPTS} with a pool of {num_pages} pages of 4 tokens"):
            expect(_answers(model, num_pages, True), _answers(model, num_pages, False), "tokens, as without overlap")


def _engine(model: Any, num_pages: int, overlap: bool) -> LLM:
    return LLM(model, backend="torch", block_size=4, num_blocks=num_pages, overlap=overlap)


def _check_answer(llm: LLM, num_pages: int, stays: list[bool]) -> None:
    running = llm.scheduler.running
    held = [(request.num_tokens, len(llm.kv.block_tables[request.request_id])) for request in running]
    missing = sum(num_tokens > 4 * pages for num_tokens, pages in held)
    flights = deque(Flight({}, Exception("not taken"), each, {}) for each in stays)
    requests = ", ".join(f"{num_tokens} tokens in {pages} pages" for num_tokens, pages in held) or "none"
    with given(
        f"{num_pages} pages of 4 tokens, {llm.kv.num_free_blocks} free, {llm.pages.cache.evictable_size} more in the "
        f"cache; running requests: {requests}; in flight: {[f'stays={each}' for each in stays]}"
    ):
        llm._flights = flights
        wanted = not stays or (stays == [True] and missing <= llm.pages.num_available)
        expect(bool(llm._can_plan()), wanted, "answer", note=_rule(stays, missing, llm.pages.num_available))
        expect([flight.stays for flight in llm._flights], stays, "steps in flight afterwards")
    llm._flights = deque()


def _rule(stays: list[bool], missing: int, available: int) -> str:
    """What decides here."""
    if not stays:
        return "With nothing in flight a step is planned, whatever pages there are."
    if len(stays) > 1:
        return "Two steps are in flight: the older one is taken first."
    if not stays[0]:
        return "The step in flight does not stay: its tokens have no places."
    return f"The step in flight stays, so the pages decide. Needed: {missing}, available: {available}."


def _answers(model: Any, num_pages: int, overlap: bool) -> list[list[int]]:
    llm, numbers = _engine(model, num_pages, overlap), count()
    results = llm.runner.results

    def cut_once(launched: Any) -> Any:
        if next(numbers) == 3:
            raise KeyboardInterrupt
        return results(launched)

    llm.runner.results = cut_once
    ids, answers = [llm.add_request(prompt, GREEDY) for prompt in PROMPTS], {}
    for _ in range(100):
        try:
            answers |= {chunk.request_id: chunk.output.token_ids for chunk in llm.step() if chunk.output}
        except KeyboardInterrupt:
            continue
    llm.check_integrity()
    return [answers[id] for id in ids]
