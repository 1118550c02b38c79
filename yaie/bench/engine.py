"""The engine against transformers on the same weights, against itself without reuse, and where the time of a step goes.

The workload of a service with one long system prompt: requests that share a prefix of 1,000 tokens, each with 16 tokens
of its own, 64 tokens generated for each. The model is the shipped tiny one in float32. Token ids are random: speed does
not depend on them. transformers computes the prefix for every request; that is the point of a prefix cache.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from yaie.bench import harness
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models.loader import TINY, load_model
from yaie.options import Parser, several, whole
from yaie.profiling import timing

PREFIX, OWN, GENERATED = 1000, 16, 64
SINGLE_PROMPT, SINGLE_GENERATED = 32, 128


def make_prompts(num_requests: int, prefix: int = PREFIX, own: int = OWN, seed: int = 0) -> list[list[int]]:
    """Prompts with a shared beginning; the ids of special tokens (0 to 5) do not occur."""
    rng = random.Random(seed)
    shared = [rng.randrange(6, 1024) for _ in range(prefix)]
    return [shared + [rng.randrange(6, 1024) for _ in range(own)] for _ in range(num_requests)]


def greedy(num_tokens: int) -> SamplingParams:
    """Exactly so many tokens, the most likely ones."""
    return SamplingParams(temperature=0, max_tokens=num_tokens, ignore_eos=True)


def load_transformers() -> Any:
    """The same weights in transformers, ready for `transformers_generate`."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None  # it would end some rows earlier than others
    return model


def transformers_generate(model: Any, prompts: list[list[int]], num_tokens: int) -> list[list[int]]:
    """One batched `generate`, greedy; prompts of one length, so nothing is padded."""
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False)
    return out[:, ids.shape[1] :].tolist()


def engine_generate(llm: LLM, prompts: list[list[int]], num_tokens: int) -> list[list[int]]:
    """All prompts at once; outputs in their order."""
    return [output.token_ids for output in llm.generate(prompts, greedy(num_tokens))]


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """The part of the tokens that are the same before the first difference of each request."""
    same = 0
    for a, b in zip(ours, theirs, strict=True):
        same += next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
    return same / sum(map(len, ours))


def first_token_times(llm: LLM, prompts: list[list[int]], clock: Callable[[], float]) -> list[float]:
    """Seconds from the arrival of all requests to the first token of each."""
    start, times = clock(), {}
    for chunk in llm.stream(prompts, greedy(1)):
        if chunk.token_ids:
            times[chunk.index] = clock() - start
    return list(times.values())


def time_to_first_token(
    make: Callable[[], LLM], prompts: list[list[int]], repeats: int, clock: Callable[[], float]
) -> timing.Timing:
    """The mean over the requests, in an engine that has seen none of them; median and quartiles over `repeats`."""
    means = [statistics.mean(first_token_times(make(), prompts, clock)) for _ in range(repeats + 1)][1:]
    q1, median, q3 = statistics.quantiles(means, n=4, method="inclusive")
    return timing.Timing(median, q1, q3, repeats)


def split_of_a_step(
    llm: LLM, prompts: list[list[int]], num_tokens: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each part of the steps in which all requests decode."""
    parts = {
        "schedule: budgets, pages, tables": (llm.scheduler, "schedule"),
        "lay out the batch": (llm.runner, "make_batch"),
        "model": (llm.runner, "model"),
        "logits": (llm.model, "logits"),
        "choose tokens": (llm.runner, "next_tokens"),
        "results to the host": (llm.runner, "results"),
        "step": (llm, "step"),
    }
    now: dict[str, float] = defaultdict(float)
    steps = []

    def timed(name: str, function: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = clock()
            result = function(*args, **kwargs)
            now[name] += clock() - start
            return result

        return call

    originals = [(owner, name, getattr(owner, name)) for owner, name in parts.values()]
    wrapped = {label: timed(label, original[2]) for label, original in zip(parts, originals, strict=True)}
    # `runner.model` is called and asked for `logits`; a plain function has no such attribute.
    wrapped["model"].logits = wrapped["logits"]
    try:
        for (owner, name, _), function in zip(originals, wrapped.values(), strict=True):
            object.__setattr__(owner, name, function)
        for prompt in prompts:
            llm.add_request(prompt, greedy(num_tokens))
        while llm.has_unfinished_requests:
            now.clear()
            chunks = llm.step()
            if len(chunks) == len(prompts) and not any(chunk.output for chunk in chunks):
                steps.append(dict(now))
    finally:
        for owner, name, original in originals:
            if owner is llm.model or owner is llm:
                object.__delattr__(owner, name)
            else:
                setattr(owner, name, original)
    medians = {label: statistics.median(step[label] for step in steps) for label in parts}
    total = medians.pop("step")
    medians["take tokens: text, ends, publish"] = total - sum(medians.values())
    return {**medians, "whole step": total}


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench engine", description=__doc__)
    parser.add_argument("--requests", type=several, default=64, help="default: %(default)s")
    parser.add_argument("--prefix", type=whole, default=PREFIX, help="shared tokens (default: %(default)s)")
    parser.add_argument("--repeats", type=several, default=3, help="timed runs of each (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=whole,
        default=1,
        help="threads of PyTorch; 1 is measured in CPU time, which other work on the machine does not disturb, more in "
        "wall time (default: %(default)s)",
    )
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    clock, clock_name = time.process_time, "CPU time of the process, one thread"
    if options.threads > 1:
        clock, clock_name = time.perf_counter, f"wall time, {options.threads} threads"
    torch.set_num_threads(options.threads)

    facts = harness.environment("engine", arguments, clock=clock_name)
    facts["versions"]["transformers"] = __import__("transformers").__version__
    harness.print_header(facts)
    loaded = load_model("tiny")
    theirs = load_transformers()

    def engine(**more: Any) -> LLM:
        return LLM(loaded, max_num_seqs=options.requests, max_num_batched_tokens=2048, **more)

    def measure(run: Callable, num_tokens: int, setup: Callable | None = None) -> timing.Timing:
        return timing.measure(run, setup=setup, items=num_tokens, repeats=options.repeats, clock=clock)

    single = make_prompts(1, 0, SINGLE_PROMPT)
    prompts = make_prompts(options.requests, options.prefix)
    num_tokens = GENERATED * len(prompts)
    speed = {
        f"one request, {SINGLE_PROMPT} + {SINGLE_GENERATED} tokens": (
            measure(lambda llm: engine_generate(llm, single, SINGLE_GENERATED), SINGLE_GENERATED, engine),
            measure(lambda: transformers_generate(theirs, single, SINGLE_GENERATED), SINGLE_GENERATED),
            agreement(
                engine_generate(engine(), single, SINGLE_GENERATED),
                transformers_generate(theirs, single, SINGLE_GENERATED),
            ),
        ),
        f"{len(prompts)} requests, {options.prefix} shared + {OWN} + {GENERATED} tokens": (
            measure(lambda llm: engine_generate(llm, prompts, GENERATED), num_tokens, engine),
            measure(lambda: transformers_generate(theirs, prompts, GENERATED), num_tokens),
            agreement(engine_generate(engine(), prompts, GENERATED), transformers_generate(theirs, prompts, GENERATED)),
        ),
    }
    harness.print_table(
        "Time per generated token, prompts included; the engine starts with an empty cache",
        ["", "YAIE", "transformers generate", "transformers / YAIE", "same tokens"],
        [
            (what, ours, other, f"{other.median / ours.median:.1f}x", f"{same:.1%}")
            for what, (ours, other, same) in speed.items()
        ],
    )

    first = {
        "with prefix reuse": time_to_first_token(engine, prompts, options.repeats, clock),
        "without": time_to_first_token(lambda: engine(prefix_cache=False), prompts, options.repeats, clock),
    }
    ratio = first["without"].median / first["with prefix reuse"].median
    harness.print_table(
        f"Time to first token, mean of {len(prompts)} requests that arrive together at an empty cache",
        ["with prefix reuse", "without", "without / with"],
        [(first["with prefix reuse"], first["without"], f"{ratio:.1f}x")],
    )

    split = split_of_a_step(engine(), prompts, GENERATED, clock)
    step = split["whole step"]
    harness.print_table(
        f"A step in which {len(prompts)} requests decode",
        ["", "time", "part of the step"],
        [(name, f"{seconds * 1e3:.2f} ms", f"{seconds / step:.1%}") for name, seconds in split.items()],
    )
    bookkeeping = sum(seconds for name, seconds in split.items() if name.startswith(("schedule", "take")))
    print(f"Scheduler and cache bookkeeping (schedule, take): {bookkeeping / step:.1%} of the step")

    if options.save:
        results = {
            "seconds_per_token": {
                what: {"yaie": ours, "transformers": other, "ratio": other.median / ours.median, "same_tokens": same}
                for what, (ours, other, same) in speed.items()
            },
            "time_to_first_token": {**first, "ratio": ratio},
            "seconds_of_a_step": split,
            "bookkeeping_part": bookkeeping / step,
        }
        print(f"Recorded in {harness.save_results('engine', facts, results)}")
