"""What Python does in a step of the engine, by part: a model that costs nothing, many requests that decode.

Everything that is computed is left out: the model returns the same numbers in each step, and tokens are chosen by
nobody. What is left is bookkeeping, and a GPU waits for it unless steps overlap.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from yaie.bench import harness
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models.loader import load_model

VOCAB_SIZE, LONGEST = 1024, 4096


class Free:
    """A model whose steps cost nothing."""

    dtype, device = torch.float32, torch.device("cpu")
    config = SimpleNamespace(
        vocab_size=VOCAB_SIZE, num_layers=1, num_kv_heads=1, head_dim=1, max_position_embeddings=LONGEST
    )

    def __init__(self) -> None:
        self.hidden, self.scores = torch.zeros(LONGEST, 1), torch.zeros(LONGEST, VOCAB_SIZE)

    def __call__(self, batch: Any, *rest: Any) -> torch.Tensor:
        return self.hidden[: len(batch.token_ids)]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.scores[: len(hidden)]


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


def measure(num_requests: int, context: int, temperature: float, text: bool, num_steps: int) -> dict[str, float]:
    """Median seconds of a step, and of each part of it, in CPU time.

    The parts are timed in steps of their own, so that the whole is not made longer by the clock.
    """
    model = Free()
    num_blocks = num_requests * (context + 2 * num_steps + 32) // 16 + num_requests
    loaded = (model, model.config, load_model("tiny")[2] if text else None)
    llm = LLM(loaded, max_num_seqs=num_requests, max_num_batched_tokens=2048, num_blocks=num_blocks)
    llm.runner.operations = SimpleNamespace(
        choose=lambda logits, draws, num_tokens: torch.zeros_like(num_tokens) + 40, name="none"
    )
    params = SamplingParams(temperature=temperature, max_tokens=LONGEST, ignore_eos=True)
    for number in range(num_requests):
        llm.add_request([(number * 7 + place * 13) % 1000 + 6 for place in range(context)], params)
    while len(llm.step()) < num_requests:
        if llm.last_error:
            raise llm.last_error

    def median(step: Callable[[], Any]) -> float:
        times = []
        for _ in range(num_steps):
            start = time.process_time()
            step()
            times.append(time.process_time() - start)
        return statistics.median(times)

    whole = median(llm.step)
    spent: dict[str, float] = defaultdict(float)

    def timed(label: str, function: Callable) -> Callable:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            result = function(*args)
            spent[label] += time.perf_counter() - start
            return result

        return call

    for label, (owner, name) in parts_of(llm).items():
        setattr(owner, name, timed(label, getattr(owner, name)))
    steps = []
    for _ in range(num_steps):
        spent.clear()
        llm.step()
        steps.append(dict(spent))
    parts = {label: statistics.median(step[label] for step in steps) for label in parts_of(llm)}
    parts["ask for the step"] -= parts["lay out the batch"]
    return {**parts, "whole step": whole}


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = argparse.ArgumentParser(prog="python -m yaie.bench step", description=__doc__)
    parser.add_argument("--requests", type=int, default=256, help="that decode (default: %(default)s)")
    parser.add_argument("--context", type=int, default=500, help="tokens of each (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="measured steps (default: %(default)s)")
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
    if options.save:
        print(f"Recorded in {harness.save_results('step', facts, {'seconds_of_a_step': results})}")
