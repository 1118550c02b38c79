"""Ten thousand requests on a pool that is too small for them: nothing is lost, doubled, or different from alone."""

import gc
import random

import pytest

from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams

CHECKED_EVERY = 50  # steps between two checks of all accounts


def make_prompts(rng: random.Random, count: int) -> list[list[int]]:
    """Prompts of 1 to 45 tokens; most begin with one of twelve shared beginnings, and some are the same."""
    beginnings = [[rng.randrange(1, 61) for _ in range(rng.randrange(4, 33))] for _ in range(12)]
    prompts = []
    for _ in range(count):
        start = rng.choice(beginnings) if rng.random() < 0.8 else []
        prompts.append(start + [rng.randrange(1, 61) for _ in range(rng.randrange(0 if start else 1, 13))])
    return prompts


@pytest.mark.parametrize(
    ("policy", "num_requests", "overlap"),
    [("fcfs", 2_000, False), ("fcfs", 6_000, True), ("longest_prefix", 2_000, True)],
)
def test_thousands_of_requests(fake, policy, num_requests, overlap):
    """Would catch a page, a lock or a request that is lost once in thousands, and memory that grows with requests."""
    rng = random.Random(policy)
    model, config, tokenizer = fake
    llm = LLM(
        (model, config, tokenizer),
        block_size=4,
        num_blocks=48,
        max_num_batched_tokens=64,
        max_num_seqs=24,
        policy=policy,
        overlap=overlap,
    )
    prompts = make_prompts(rng, num_requests)
    plans = {}  # request id -> (prompt, max_tokens, stop string)
    reasons, objects = dict.fromkeys(("stop", "length", "abort"), 0), []
    added = 0

    def end(output):
        reasons[output.finish_reason] += 1
        tokens, max_tokens, stop = plans.pop(output.request_id)  # KeyError: it ended twice
        expected = model.greedy(tokens, len(output.token_ids))
        assert output.token_ids == expected, "other tokens than alone"
        text = tokenizer.decode(expected)
        if output.finish_reason == "stop":
            assert stop in text or expected[-1] == 0
        elif output.finish_reason == "length":
            assert len(expected) == max_tokens
        assert output.text == text.partition(stop)[0]

    step = 0
    while added < num_requests or llm.has_unfinished_requests:
        while added < num_requests and len(plans) < 80:
            max_tokens, stop = rng.randrange(1, 28), rng.choice("abcdefghijklmnop") + rng.choice("abcd")
            params = SamplingParams(temperature=0, max_tokens=max_tokens, stop=stop)
            plans[llm.add_request(prompts[added], params)] = (prompts[added], max_tokens, stop)
            added += 1
        if rng.random() < 0.2:
            end(llm.abort(rng.choice(list(plans))))
        for chunk in llm.step():
            if chunk.output:
                end(chunk.output)
        if step % CHECKED_EVERY == 0:
            llm.check_integrity()
        if step % 400 == 399:
            gc.collect()
            objects.append(len(gc.get_objects()))
        step += 1

    assert not plans
    llm.check_integrity()
    stats = llm.stats()
    assert sum(reasons.values()) == stats["finished"] == num_requests
    assert min(reasons.values()) > num_requests / 100
    assert stats["preemptions"] > num_requests / 100
    assert stats["evicted_pages"] > num_requests / 10
    assert stats["cached_tokens"] > num_requests
    assert stats["pages"]["free"] + stats["pages"]["evictable"] == 48
    assert objects[-1] < objects[1] * 1.05, f"objects grow with the number of requests: {objects}"
