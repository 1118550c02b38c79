"""How long people wait: requests that arrive when they like, and not when the engine is ready for them.

An open loop: arrivals follow a clock of their own, so a slow engine gets a queue, as in life. (In a closed loop each
client waits for its answer before it asks again; a slow engine then has fewer requests, and looks better than it is.)
Times count from the moment at which a request was due, also where it was handed in late.

Per rate of arrivals: time to the first token, between tokens, and in all, as percentiles; tokens per second; and the
goodput, requests per second that kept both limits (--first and --between).
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from yaie.bench import harness
from yaie.bench.serve import SHAPES, config_of, fresh_engine, make_model
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.checks import integer, number
from yaie.kernels.ops import BACKENDS
from yaie.options import Parser, amount, url, whole
from yaie.profiling.latency import Waited, summary
from yaie.server.client import RemoteLLM

SHORTEST_ANSWER = 4  # in tokens

# What a variant changes in the engine.
VARIANTS: dict[str, dict[str, Any]] = {
    "engine": {},
    "small-chunks": {"max_num_batched_tokens": 256},  # of prompts, beside decodes; 64 requests may run
    "longest-prefix": {"policy": "longest_prefix"},
    "no-prefix-cache": {"prefix_cache": False},
}


@dataclass
class Arrival(Waited):
    """A request that is due at a time, and what became of it."""

    prompt: list[int]
    num_tokens: int  # how many it generates


# ---- when they come


def poisson(rate: float, rng: random.Random) -> Iterator[float]:
    """Independent people: the gaps between them are exponential, `rate` arrivals a second on average."""
    now = 0.0
    while True:
        now += rng.expovariate(rate)
        yield now


def bursts(rate: float, rng: random.Random, size: int = 8) -> Iterator[float]:
    """`size` at a time, as when a page is loaded; as many a second on average."""
    for now in poisson(rate / size, rng):
        yield from [now] * size


ARRIVALS: dict[str, Callable[[float, random.Random], Iterator[float]]] = {"poisson": poisson, "bursts": bursts}


def drawn(kind: str, rate: float, count: int, vocab_size: int, longest: int, seed: int = 0) -> list[Arrival]:
    """A load of one kind: prompts that begin with one of four long beginnings, and answers of many lengths."""
    rng, times = random.Random(seed), ARRIVALS[kind](rate, random.Random(seed + 1))

    def tokens(number: int) -> list[int]:
        return [rng.randrange(5, vocab_size) for _ in range(number)]

    beginnings = [tokens(longest // 2) for _ in range(4)]
    return [
        Arrival(
            due,
            rng.choice(beginnings) + tokens(rng.randint(1, longest // 2)),
            rng.randint(SHORTEST_ANSWER, longest // 2),
        )
        for due, _ in zip(times, range(count), strict=False)
    ]


def recorded(path: Path, vocab_size: int, seed: int = 0) -> list[Arrival]:
    """A trace: a JSON object a line with `at` (seconds), `prompt_tokens`, `answer_tokens`. ValueError names a line."""
    rng, found = random.Random(seed), []
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            due = number("at", entry["at"], 0)
            length, answer = (integer(name, entry[name], 1, 10**6) for name in ("prompt_tokens", "answer_tokens"))
        except (ValueError, TypeError, LookupError) as error:
            wanted = '{"at": seconds, "prompt_tokens": n, "answer_tokens": n}'
            raise ValueError(f"{path}, line {place}: expected {wanted}: {error}") from None
        found.append(Arrival(due, [rng.randrange(5, vocab_size) for _ in range(length)], answer))
    if not found:
        raise ValueError(f"{path}: nobody comes in this trace: it is empty")
    return sorted(found, key=lambda arrival: arrival.due)


# ---- who answers


def drive_engine(llm: LLM, load: Sequence[Arrival]) -> None:
    """Hand each request in when it is due, and step while there is work."""
    waiting, open_ones, start = list(reversed(load)), {}, time.perf_counter()
    while waiting or llm.has_unfinished_requests:
        now = time.perf_counter() - start
        while waiting and waiting[-1].due <= now:
            arrival = waiting.pop()
            open_ones[llm.add_request(arrival.prompt, _params(arrival))] = arrival
        if not llm.has_unfinished_requests:
            time.sleep(max(0.0, waiting[-1].due - now))
            continue
        chunks = llm.step()
        now = time.perf_counter() - start
        for chunk in chunks:
            open_ones[chunk.request_id].token_times += [now] * len(chunk.token_ids)
            if chunk.output and chunk.output.error:
                open_ones[chunk.request_id].error = chunk.output.error


def drive_server(url: str, load: Sequence[Arrival]) -> None:
    """A thread for each request, which reads its stream. A token counts when its event is here. OSError: there is no
    such server, or it refuses."""
    import httpx
    import openai

    key = os.environ.get("YAIE_API_KEY")
    name = RemoteLLM(url, key).name
    client = openai.OpenAI(base_url=f"{url.rstrip('/')}/v1", api_key=key or "none", max_retries=0)
    body = {"model": name, "temperature": 0, "logprobs": 0, "stream": True}
    start = time.perf_counter()

    def ask(arrival: Arrival) -> None:
        time.sleep(max(0.0, arrival.due - (time.perf_counter() - start)))
        own = {"prompt": arrival.prompt, "max_tokens": arrival.num_tokens, "extra_body": {"ignore_eos": True}}
        try:
            for event in client.completions.create(**body, **own):
                arrival.token_times += [time.perf_counter() - start] * len(event.choices[0].logprobs.tokens)
        except (openai.APIError, httpx.HTTPError) as error:  # the second where a stream is cut
            arrival.error = str(error)

    threads = [threading.Thread(target=ask, args=(arrival,), daemon=True) for arrival in load]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _params(arrival: Arrival) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=arrival.num_tokens, ignore_eos=True)


def main(arguments: list[str]) -> int | None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench latency", description=__doc__)
    parser.add_argument("--shape", default="tiny", choices=["tiny", *SHAPES], help="default: %(default)s")
    parser.add_argument("--rates", type=amount, nargs="+", default=[5, 10, 20, 40], help="arrivals a second")
    parser.add_argument("--requests", type=whole, default=100, help="at each rate (default: %(default)s)")
    longest = partial(whole, least=2 * SHORTEST_ANSWER)
    parser.add_argument("--longest", type=longest, default=128, help="tokens of a prompt (default: %(default)s)")
    parser.add_argument("--arrivals", choices=ARRIVALS, default="poisson", help="default: %(default)s")
    parser.add_argument("--trace", type=Path, help='instead of rates: a file with {"at", "prompt_tokens", ...} a line')
    parser.add_argument(
        "--first", type=amount, default=0.2, help="limit on the first token in s (default: %(default)s)"
    )
    parser.add_argument(
        "--between", type=amount, default=0.05, help="limit on the mean gap in s (default: %(default)s)"
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["engine"], help="default: engine")
    parser.add_argument("--server", type=url, metavar="URL", help="`yaie serve` there, with a model of that --shape")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    import torch

    if options.trace:
        parser.refuse(options, "has no effect beside --trace", "rates", "requests", "longest", "arrivals")
        try:
            recorded(options.trace, vocab_size=10)
        except (OSError, ValueError) as error:
            parser.error(f"argument --trace: {error}")
    if options.server:
        parser.refuse(options, "has no effect beside --server", "variants", "backend")
    device = "cuda" if torch.cuda.is_available() and options.backend != "emulator" else "cpu"
    facts = harness.environment("latency", arguments, device=device)
    facts["times"] = "wall time from when a request was due; one run at each rate, after a warm-up"
    harness.print_header(facts)
    if not options.server:
        model = make_model(options.shape, torch.bfloat16 if device == "cuda" else torch.float32, device)
    vocab_size, rows = config_of(options.shape).vocab_size, []
    for variant in ["server"] if options.server else options.variants:
        for rate in [None] if options.trace else options.rates:
            if options.trace:
                load = recorded(options.trace, vocab_size)
            else:
                load = drawn(options.arrivals, rate, options.requests, vocab_size, options.longest)
            if options.server:
                drive_server(options.server, load)
            else:
                drive_engine(fresh_engine(model, backend=options.backend, **VARIANTS[variant]), load)
            rows.append({"variant": variant, "rate": rate, **summary(load, options.first, options.between)})
            print(f"{variant}, {rate or 'trace'}: done", flush=True)
    limits = f"goodput: first token within {options.first} s, then {options.between} s a token"
    title = (
        f"{options.shape}, {'trace' if options.trace else options.arrivals}; milliseconds at p50 / p90 / p99; {limits}"
    )
    columns = ("", "arrivals/s", "first token", "between tokens", "in all", "tokens/s", "requests/s", "goodput/s")
    harness.print_table(title, columns, [_row(row) for row in rows])
    if options.save:
        results = {"shape": options.shape, "limits": {"first": options.first, "between": options.between}, "runs": rows}
        print(f"Recorded in {harness.save_results('latency', facts, results)}")
    return None


def _row(row: dict[str, Any]) -> tuple:
    times = (" / ".join(f"{1e3 * value:.1f}" for value in row[name].values()) for name in ("first", "between", "whole"))
    rates = (f"{row[name]:,.1f}" for name in ("tokens_per_second", "requests_per_second", "goodput"))
    return row["variant"], row["rate"] or "trace", *times, *rates
