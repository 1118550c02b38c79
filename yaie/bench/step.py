"""What Python does in a step of the engine, by part: a model that costs nothing, many requests that decode, or many
prompts.

Everything that is computed is left out: the model returns the same numbers in each step, and tokens are chosen by
nobody. What is left is bookkeeping, and a GPU waits for it unless steps overlap.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any

import torch

from yaie.bench import harness
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models.loader import load_model
from yaie.options import Parser, whole

VOCAB_SIZE, LONGEST, BUDGET = 1024, 4096, 16384


class Free:
    """A model whose steps cost nothing."""

    dtype, device = torch.float32, torch.device("cpu")
    config = SimpleNamespace(
        vocab_size=VOCAB_SIZE, num_layers=1, num_kv_heads=1, head_dim=1, max_position_embeddings=LONGEST
    )

    def __init__(self) -> None:
        self.hidden, self.scores = torch.zeros(BUDGET, 1), torch.zeros(LONGEST, VOCAB_SIZE)

    def __call__(self, batch: Any, *rest: Any) -> torch.Tensor:
        return self.hidden[: len(batch.token_ids)]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.scores[: len(hidden)]


def free_engine(num_requests: int, context: int, text: bool = False) -> LLM:
    """An engine whose steps cost nothing but Python, with pages for so many requests."""
    model, num_blocks = Free(), num_requests * (context // 16 + 2)
    loaded = (model, model.config, load_model("tiny")[2] if text else None)
    llm = LLM(loaded, max_num_seqs=num_requests, max_num_batched_tokens=BUDGET, num_blocks=num_blocks)
    llm.runner.operations = SimpleNamespace(
        choose=lambda logits, draws, num_tokens: torch.zeros_like(num_tokens) + 40, name="none"
    )
    return llm


def tokens_of(number: int, count: int) -> list[int]:
    """Token ids that begin otherwise for each number."""
    return [(number * 7 + place * 13) % 1000 + 6 for place in range(count)]


def parts_of(llm: LLM) -> dict[str, tuple[Any, str]]:
    """Which function each part of a step is, as its owner and its name."""
    return {
        "schedule": (llm.scheduler, "schedule"),
        "lay out the batch": (llm.runner, "make_batch"),
        "ask for the step": (llm.runner, "launch"),
        "results to the host": (llm.runner, "results"),
        "ends, text": (llm, "_reason_to_end"),
        "deliver": (llm, "_deliver"),
    }


def clocked(run: Callable[[], Any], parts: dict[str, tuple[Any, str]], num_runs: int) -> dict[str, float]:
    """Median seconds of each part of `run`, and of the whole, in CPU time.

    The parts are timed in runs of their own, so that the whole is not made longer by the clock.
    """
    whole = []
    for _ in range(num_runs):
        start = time.process_time()
        run()
        whole.append(time.process_time() - start)
    spent: dict[str, float] = defaultdict(float)

    def timed(label: str, function: Callable) -> Callable:
        def call(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **options)
            spent[label] += time.perf_counter() - start
            return result

        return call

    for label, (owner, name) in parts.items():
        setattr(owner, name, timed(label, getattr(owner, name)))
    runs = []
    for _ in range(num_runs):
        spent.clear()
        run()
        runs.append(dict(spent))
    medians = {label: statistics.median(each[label] for each in runs) for label in parts}
    medians["ask for the step"] -= medians["lay out the batch"]
    return {**medians, "whole step": statistics.median(whole)}


def measure(num_requests: int, context: int, temperature: float, text: bool, num_steps: int) -> dict[str, float]:
    """Median seconds of a step in which all requests decode, and of each part of it."""
    llm = free_engine(num_requests, context + 2 * num_steps + 32, text)
    params = SamplingParams(temperature=temperature, max_tokens=LONGEST, ignore_eos=True)
    for number in range(num_requests):
        llm.add_request(tokens_of(number, context), params)
    while len(llm.step()) < num_requests:
        if llm.last_error:
            raise llm.last_error
    return clocked(llm.step, parts_of(llm), num_steps)


def measure_prompts(num_prompts: int, cached: int, new: int, num_steps: int) -> dict[str, float]:
    """Median seconds of a step of prompts that have `cached` tokens in common, which are found, and `new` of their own;
    and of each part of it. They come before the step, and end with it."""
    llm = free_engine(2 * num_prompts, cached + new)
    one, shared = SamplingParams(max_tokens=1, ignore_eos=True), tokens_of(0, cached)
    llm.generate([[*shared, 5]], one)
    numbers = range(2 * num_steps * num_prompts)
    coming = iter([[*shared, 6 + n % 1000, 6 + n // 1000, *tokens_of(n, new - 2)] for n in numbers])

    def step() -> None:
        for tokens in islice(coming, num_prompts):
            llm.add_request(tokens, one)
        llm.step()
        if llm.last_error or llm.has_unfinished_requests:
            raise llm.last_error or RuntimeError("the prompts took more than a step")

    more = {
        "take requests": (llm, "add_request"),
        "publish": (llm.pages, "advance"),
        "give pages back": (llm.pages, "give_back"),
    }
    return clocked(step, more | parts_of(llm), num_steps)


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench step", description=__doc__)
    parser.add_argument("--requests", type=whole, default=256, help="that decode (default: %(default)s)")
    parser.add_argument("--context", type=whole, default=500, help="tokens of each (default: %(default)s)")
    parser.add_argument("--prompts", type=whole, default=64, help="of a step of prompts (default: %(default)s)")
    parser.add_argument(
        "--cached", type=partial(whole, least=0), default=2048, help="tokens of each that are (default: %(default)s)"
    )
    parser.add_argument("--new", type=whole, default=128, help="tokens of each that are not (default: %(default)s)")
    parser.add_argument("--steps", type=whole, default=60, help="measured steps (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    facts = harness.environment("step", arguments, clock="CPU time of the process; the parts in wall time")
    harness.print_header(facts)
    cases = {"greedy": (0, False), "temperature 0.6": (0.6, False), "greedy, with text": (0, True)}
    results = {name: measure(options.requests, options.context, *how, options.steps) for name, how in cases.items()}
    harness.print_table(
        f"Python in a step in which {options.requests} requests decode, ms",
        ["", *cases],
        [(part, *(f"{results[name][part] * 1e3:.2f}" for name in cases)) for part in next(iter(results.values()))],
    )
    many = options.prompts, options.cached, options.new
    prompts = measure_prompts(*many, max(1, options.steps // 6))
    harness.print_table(
        "Python in a step of {} prompts, each with {} tokens that are cached and {} new ones, ms".format(*many),
        ["", ""],
        [(part, f"{seconds * 1e3:.2f}") for part, seconds in prompts.items()],
    )
    results["prompts"] = prompts
    if options.save:
        print(f"Recorded in {harness.save_results('step', facts, {'seconds_of_a_step': results})}")
