"""Decode steps on one GPU and on several (tensor parallel), and what a step on rank 0 is made of.

First the shipped model in float32: one rank and several must give the same tokens. Then random weights in the shape of
a large model: so many requests of one context decode, and the wall time of a step is the mean of a round of steps,
given as the median of the rounds. At last a few steps under the profiler. A sum over ranks is timed alone, too, in a
CUDA graph: in a step it also takes what this rank waits for the others.
"""

from __future__ import annotations

import gc
import random
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from yaie.bench import harness
from yaie.bench.serve import SHAPES, config_of, make_model
from yaie.engine.engine import Engine, Options
from yaie.engine.runner import ModelRunner
from yaie.engine.sampling_params import SamplingParams
from yaie.models.cuda_graph import Capture
from yaie.options import Parser, several, whole
from yaie.parallel.ranks import Ranks
from yaie.parallel.shards import local_config
from yaie.profiling.timing import timing_of

BUDGET = 8192  # tokens of a step of prompts
SUMS = 64  # in a graph, as in a step of 32 layers
PROMPTS = ("2+3=", "reverse: a b c d e f", "123+456=", "alice=17;bob=42;carol=93;dave=20;bob?", "a=1;b=2;c=3;b?", "x")

Kernel = tuple[str, float, float]  # name, start and end in seconds


class Rank(ModelRunner):
    """A rank whose part of the model needs no checkpoint."""

    def make(self, shape: str, dtype: torch.dtype) -> tuple:
        made = make_model(shape, dtype, self.group.device, self.group)
        self.model = made[0]
        return made

    @torch.inference_mode()
    def time_sum(self, num_tokens: int, repeats: int = 20) -> float:
        """Seconds of one sum over ranks of what a layer gives, in a CUDA graph of `SUMS`."""
        x = torch.zeros(num_tokens, self.model.config.hidden_size, dtype=self.model.dtype, device=self.model.device)
        replay = Capture()(lambda: [self.group.all_reduce(x) for _ in range(SUMS)][-1])
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        replay()
        start.record()
        for _ in range(repeats):
            replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats / SUMS


def make_engine(shape: str, num_ranks: int, dtype: torch.dtype, device: str, **options: Any) -> Engine:
    """An engine of so many ranks; `Engine.close` ends them."""
    options = Options(tensor_parallel=num_ranks, **options)
    if num_ranks == 1:
        return Engine(*make_model(shape, dtype, device), options)
    ranks = Ranks(num_ranks, device, Rank)
    return Engine(*ranks.call("make", shape, dtype), options, ranks)


def answers(num_ranks: int, device: str) -> list[list[int]]:
    """Tokens of the shipped model in float32: the likeliest, then drawn ones."""
    engine = make_engine("tiny", num_ranks, torch.float32, device)
    try:
        tokens: dict[str, list[int]] = {}
        for temperature in (0.0, 1.0):
            params = SamplingParams(temperature=temperature, max_tokens=24, seed=1, ignore_eos=True)
            ids = [engine.add_request(prompt, params) for prompt in PROMPTS]
            outputs = {}
            while engine.has_unfinished_requests:
                outputs |= {chunk.request_id: chunk.output for chunk in engine.step() if chunk.output}
            tokens |= {f"{id} {temperature}": outputs[id].token_ids for id in ids}
        if engine.last_error:
            raise engine.last_error
        if device == "cuda" and not engine.runner.graphs.replays:
            raise RuntimeError("no step came from a CUDA graph")
        return list(tokens.values())
    finally:
        engine.close()


def begin(engine: Engine, num_requests: int, context: int, num_tokens: int) -> None:
    """Have requests of `context` tokens decode, each up to `num_tokens`."""
    rng, params = random.Random(0), SamplingParams(temperature=0, max_tokens=num_tokens, ignore_eos=True)
    for _ in range(num_requests):
        engine.add_request([rng.randrange(5, engine.config.vocab_size) for _ in range(context)], params)
    while sum(bool(chunk.token_ids) for chunk in engine.step()) < num_requests:
        if engine.last_error:
            raise engine.last_error


def run_steps(engine: Engine, count: int) -> float:
    """Seconds of a step, on average. RuntimeError unless all that run get a token in each, and go on."""
    start = time.perf_counter()
    chunks = [chunk for _ in range(count) for chunk in engine.step()]
    seconds = (time.perf_counter() - start) / count
    if engine.last_error:
        raise engine.last_error
    if len(chunks) != count * len(engine.scheduler.running) or not chunks:
        raise RuntimeError("not all of the steps were of all requests that decode")
    return seconds


def profiled(engine: Engine, count: int) -> list[Kernel]:
    """The kernels of so many steps on this process's GPU."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        run_steps(engine, count)
        torch.cuda.synchronize()
    kinds = torch.autograd.DeviceType
    return [
        (event.name, event.time_range.start / 1e6, event.time_range.end / 1e6)
        for event in seen.events()
        if event.device_type == kinds.CUDA and event.time_range.end > event.time_range.start
    ]


def parts_of(kernels: Sequence[Kernel], num_steps: int) -> dict[str, Any]:
    """What a step consists of, in seconds: how long it takes, how long the GPU works, and each kernel's part."""
    ordered = sorted(kernels, key=lambda kernel: kernel[1])
    busy, free = 0.0, ordered[0][1]
    by_name = defaultdict(list)
    for name, start, end in ordered:
        busy += max(0.0, end - max(start, free))
        free = max(free, end)
        by_name[short(name)].append(end - start)
    rows = [
        {
            "kernel": name,
            "count": len(times) / num_steps,
            "seconds": sum(times) / num_steps,
            "median": sorted(times)[len(times) // 2],
            "shortest": min(times),
        }
        for name, times in by_name.items()
    ]
    return {
        "step": (free - ordered[0][1]) / num_steps,
        "busy": busy / num_steps,
        "sums": sum(row["seconds"] for row in rows if re.search("all_?reduce", row["kernel"].lower())),
        "kernels": sorted(rows, key=lambda row: -row["seconds"]),
    }


def short(name: str) -> str:
    """A kernel's name without its arguments; two tiles of one matrix product stay apart."""
    name = name.removeprefix("void ").replace("(anonymous namespace)::", "")
    return name.partition("(")[0][:70]


def measure(shape: str, num_ranks: int, device: str, load: tuple[int, int], steps: int, rounds: int) -> dict[str, Any]:
    """One row of the benchmark. load: requests, and the context of each."""
    num_requests, context = load
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    num_warm_up, num_profiled = 8, 8 if device == "cuda" else 0
    num_tokens = num_warm_up + rounds * steps + num_profiled + num_requests * context // BUDGET + 8
    pages = -(-(context + num_tokens) // 16)
    engine = make_engine(
        shape,
        num_ranks,
        dtype,
        device,
        max_num_seqs=num_requests,
        max_num_batched_tokens=BUDGET,
        num_blocks=(pages + 1) * num_requests,
        max_model_len=context + num_tokens,
    )
    try:
        begin(engine, num_requests, context, num_tokens)
        for _ in range(num_warm_up):
            engine.step()
        found = {"ranks": num_ranks, "overlaps": engine.overlaps, "backend": engine.runner.operations.name}
        found["step"] = timing_of([run_steps(engine, steps) for _ in range(rounds)])
        if device == "cuda":
            found["profile"] = parts_of(profiled(engine, num_profiled), num_profiled)
            if num_ranks > 1:
                found["sum"] = engine.ranks.call("time_sum", num_requests)
        return found
    finally:
        engine.close()
        del engine
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()


def main(arguments: list[str]) -> int | None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench parallel", description=__doc__)
    parser.add_argument("--shape", default="llama-3-8b", choices=["tiny", *SHAPES], help="default: %(default)s")
    parser.add_argument("--ranks", type=whole, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--requests", type=whole, default=64, help="that decode (default: %(default)s)")
    parser.add_argument("--context", type=whole, default=1024, help="tokens of each at first (default: %(default)s)")
    parser.add_argument("--steps", type=whole, default=40, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=several, default=3, help="default: %(default)s")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if problem := problem_with(options.ranks, options.shape, device):
        parser.error(problem)
    facts = harness.environment("parallel", arguments, device=device)
    facts["times"] = f"wall time; means of rounds of {options.steps} steps, their median, the quartiles in brackets"
    harness.print_header(facts)

    one, same = answers(1, device), {}
    for num_ranks in options.ranks:
        if num_ranks > 1:
            pairs = list(zip(one, answers(num_ranks, device), strict=True))
            same[num_ranks] = sum(mine == theirs for mine, theirs in pairs)
            print(f"the shipped model on {num_ranks} ranks: {same[num_ranks]} of {len(pairs)} answers as on one")
    load, rows = (options.requests, options.context), []
    for num_ranks in options.ranks:
        rows.append(measure(options.shape, num_ranks, device, load, options.steps, options.rounds))
        show(rows[-1], rows[0])
    if options.save:
        results = {"shape": options.shape, "requests": options.requests, "context": options.context}
        results |= {"same_answers": same, "answers": len(one), "rows": rows}
        print(f"Recorded in {harness.save_results('parallel', facts, results)}")
    return 1 if any(count < len(one) for count in same.values()) else None


def problem_with(ranks: Sequence[int], shape: str, device: str) -> str:
    """What is wrong with these numbers of ranks; empty if nothing is."""
    num_gpus = torch.cuda.device_count()
    for num_ranks in ranks:
        if device == "cuda" and num_ranks > num_gpus:
            return f"argument --ranks: there are {num_gpus} GPUs here, got {num_ranks}"
        for name in dict.fromkeys(("tiny", shape)):
            try:
                local_config(config_of(name), num_ranks)
            except ValueError as error:
                return f"argument --ranks: the model {name} cannot be split: {error}"
    return ""


def show(row: dict[str, Any], first: dict[str, Any]) -> None:
    """Print a row, beside the first one."""
    overlaps = "overlapped" if row["overlaps"] else "one after the other"
    ratio = first["step"].median / row["step"].median
    print(f"\n{row['ranks']} ranks, {row['backend']}, steps {overlaps}: {row['step']} a step, {ratio:.2f}x", flush=True)
    if "sum" in row:
        print(f"a sum over ranks, alone: {row['sum'] * 1e6:.1f} us")
    if "profile" in row:
        parts = row["profile"]
        idle = parts["step"] - parts["busy"]
        print(
            f"profiled: {parts['step'] * 1e3:.2f} ms a step, {idle * 1e3:.2f} idle, {parts['sums'] * 1e3:.2f} in sums"
        )
        harness.print_table(
            "A step on rank 0",
            ("kernel", "a step", "ms", "median us", "shortest us"),
            [
                (
                    kernel["kernel"],
                    f"{kernel['count']:.1f}",
                    f"{kernel['seconds'] * 1e3:.3f}",
                    f"{kernel['median'] * 1e6:.1f}",
                    f"{kernel['shortest'] * 1e6:.1f}",
                )
                for kernel in parts["kernels"][:24]
            ],
        )
