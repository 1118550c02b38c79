"""What a fleet would need: many replicas and very many users, simulated, with the router that serves.

No model runs. Each replica has the engine's own scheduler and prefix cache on a simulated clock: a step takes a fixed
time, and some more for each token that it computes (`--step`, `--token`; by default those of the tiny model on this
machine, measured at the start). Users come back to their chats: each prompt is one of a few system prompts, the chat so
far, and something new. Hit rate: the part of all prompt tokens that a replica found in its cache. Balance: the load of
the busiest replica over the mean. Needed: replicas for this load of which even the busiest works at most `--busy` of
its time, with one to spare; by the middle half of the requests, which share their steps with others before and after
them. Where the load does not last as long as that takes, there is no such number ("-").
"""

from __future__ import annotations

import heapq
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np
import torch

from yaie.bench import harness
from yaie.bench.latency import poisson
from yaie.bench.serve import SHAPES, make_model
from yaie.engine.llm import LLM
from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Scheduler
from yaie.kernels.kv_cache import KVCacheManager
from yaie.options import Parser, amount, whole
from yaie.profiling.fleet import replicas_needed
from yaie.server.router import Router

PAGE = 16
PARAMS = SamplingParams(temperature=0)
SYSTEM_TOKENS, NEW_TOKENS, ANSWER_TOKENS, LONGEST = 320, (8, 64), (8, 64), 2000
BACK, RECENT = 0.7, 2000


@dataclass
class Times:
    """Seconds of a step that computes `n` tokens: step + n * token."""

    step: float
    token: float


def measure(shape: str) -> Times:
    """Those of a model on this machine. A step by decoding, since most steps decode (prompts do not come from a CUDA
    graph, and on a GPU a short one takes longer than a decode step); a token by a short and a long prompt."""
    on_gpu = torch.cuda.is_available()
    model = make_model(shape, torch.bfloat16 if on_gpu else torch.float32, "cuda" if on_gpu else "cpu")
    llm = LLM(model, prefix_cache=False)

    def seconds(num_prompt: int, num_answer: int) -> float:
        taken, params = [], SamplingParams(max_tokens=num_answer, ignore_eos=True)
        for _ in range(7):
            start = time.perf_counter()
            llm.generate([[5] * num_prompt], params)
            taken.append(time.perf_counter() - start)
        return float(np.median(taken))

    seconds(16, 33)  # kernels are compiled, graphs captured
    short = seconds(16, 1)
    token = max(0.0, (seconds(1024, 1) - short) / (1024 - 16))
    step = (seconds(16, 33) - short) / 32
    return Times(max(1e-6, step - token), token)


class Replica:
    """The engine's scheduler and pages, without a model."""

    def __init__(self, num_pages: int) -> None:
        self.pages = Pages(KVCacheManager(num_pages, PAGE, 1, 1))
        self.scheduler = Scheduler(self.pages)
        self.busy = False

    def step(self) -> tuple[dict[Request, int], list[Request], list[Request]]:
        """(tokens computed of each request, requests that got their first token, requests that ended)."""
        batch, first, ended = self.scheduler.schedule(), [], []
        for request, num_tokens in batch.items():
            self.pages.advance(request, num_tokens)
            if request.num_uncomputed_tokens == 0:
                request.append(5)
                if request.num_output_tokens == 1:
                    first.append(request)
                if request.num_output_tokens == request.max_tokens:
                    self.scheduler.finish(request, "length")
                    ended.append(request)
        return batch, first, ended


@dataclass
class Users:
    """Someone's next prompt: a system prompt, the chat so far, something new.

    Most prompts (`BACK`) go on with a chat of the last `RECENT`, the others begin one, by any of all users.
    """

    num_users: int
    rng: random.Random
    chats: dict[int, list[int]] = field(default_factory=dict)
    recent: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.systems = [self._tokens(SYSTEM_TOKENS) for _ in range(20)]

    def _tokens(self, number: int) -> list[int]:
        return [self.rng.randrange(5, 30_000) for _ in range(number)]

    def next_prompt(self) -> list[int]:
        goes_on = self.recent and self.rng.random() < BACK
        user = self.rng.choice(self.recent) if goes_on else self.rng.randrange(self.num_users)
        said = self.chats.get(user) or self.systems[user % len(self.systems)]
        said = said + self._tokens(self.rng.randint(*NEW_TOKENS))
        self.chats[user] = said if len(said) < LONGEST else []
        self.recent.append(user)
        if len(self.recent) > RECENT:
            old = self.recent.popleft()
            if old not in self.recent:
                del self.chats[old]
        return said


def by_prefix(router: Router, rng: random.Random, tokens: list[int]) -> Any:
    return router.choose(tokens).replica


def by_load(router: Router, rng: random.Random, tokens: list[int]) -> Any:
    return min(router.replicas, key=lambda name: (router.replicas[name].open, router.replicas[name].sent))


def at_random(router: Router, rng: random.Random, tokens: list[int]) -> Any:
    return rng.randrange(len(router.replicas))


POLICIES: dict[str, Callable] = {"random": at_random, "least-loaded": by_load, "prefix": by_prefix}


def simulate(
    policy: str,
    times: Times,
    num_replicas: int,
    num_users: int,
    rate: float,
    num_requests: int,
    num_pages: int,
    busy: float = 0.7,
) -> dict[str, Any]:
    """Serve a load once. The load is the same for each policy. `busy`: see `replicas_needed`."""
    rng, users = random.Random(1), Users(num_users, random.Random(2))
    router, replicas = Router(PAGE, num_pages), [Replica(num_pages) for _ in range(num_replicas)]
    for name in range(num_replicas):
        router.add(name)
    choose, numbers = POLICIES[policy], count()
    arrivals = list(islice(poisson(rate, random.Random(3)), num_requests + 1))
    events: list[tuple[float, int, int | None]] = [(arrivals[0], next(numbers), None)]  # None: an arrival
    due: dict[Request, float] = {}
    firsts: list[float] = []
    lasted: list[float] = []  # from when a request was due to its last token
    prompt_tokens = cached_tokens = 0
    load: dict[int, int] = defaultdict(int)
    start = num_requests // 4  # the middle half is watched
    stop = max(start + 1, num_requests - start)
    watched: dict[int, float] = defaultdict(float)  # seconds that each replica computed for it
    while events:
        now, _, name = heapq.heappop(events)
        if name is None:
            prompt, number = users.next_prompt(), len(due)
            name = choose(router, rng, prompt)
            router.sent(name, prompt)
            request = Request(str(number), prompt, PARAMS, number, users.rng.randint(*ANSWER_TOKENS), TextStream(None))
            due[request] = now
            replicas[name].scheduler.add(request)
            if len(due) < num_requests:
                heapq.heappush(events, (arrivals[len(due)], next(numbers), None))
            if replicas[name].busy:
                continue
        replica = replicas[name]
        batch, first, ended = replica.step()
        if not batch and not replica.scheduler.running:
            raise ValueError(f"a request needs more than the {num_pages} pages of a replica")
        computed = sum(batch.values())
        end = now + times.step + times.token * computed
        firsts += [end - due[request] for request in first]
        lasted += [end - due[request] for request in ended]
        for request, num_tokens in batch.items():
            if start <= request.arrival < stop:
                watched[name] += times.step / len(batch) + times.token * num_tokens
        for request in ended:
            router.ended(name)
            prompt_tokens += request.num_prompt_tokens
            cached_tokens += request.num_cached_tokens or 0
        load[name] += computed
        replica.busy = bool(replica.scheduler.running or replica.scheduler.waiting)
        if replica.busy:
            heapq.heappush(events, (end, next(numbers), name))
    work = [load[name] for name in range(num_replicas)]
    p50, p99 = np.percentile(firsts, (50, 99))
    is_steady = np.median(lasted) < min(arrivals[start] - arrivals[0], arrivals[-1] - arrivals[stop])
    work_of_watched = [watched[name] for name in range(num_replicas)]
    seconds = arrivals[stop] - arrivals[start]
    return {
        "hit_rate": cached_tokens / prompt_tokens,
        "balance": max(work) / (sum(work) / num_replicas),
        "first_p50": float(p50),
        "first_p99": float(p99),
        "computed_tokens": sum(work),
        "needed": replicas_needed(work_of_watched, seconds, busy, spare=1) if is_steady else None,
    }


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench fleet", description=__doc__)
    few, many = (partial(whole, most=most) for most in (10**4, 10**9))
    parser.add_argument("--replicas", type=few, default=100, help="default: %(default)s")
    parser.add_argument("--users", type=many, default=10**6, help="default: %(default)s")
    parser.add_argument("--requests", type=whole, default=10_000, help="default: %(default)s")
    parser.add_argument("--rate", type=amount, help="arrivals a second (default: what keeps the replicas half busy)")
    parser.add_argument(
        "--pages", type=whole, default=2048, help=f"of {PAGE} tokens on a replica (default: %(default)s)"
    )
    share = partial(amount, most=1)
    parser.add_argument("--busy", type=share, default=0.7, help="of its time, for `needed` (default: %(default)s)")
    parser.add_argument("--shape", default="tiny", choices=["tiny", *SHAPES], help="measured (default: %(default)s)")
    parser.add_argument("--step", type=amount, help="milliseconds of a step (default: measured)")
    parser.add_argument("--token", type=amount, help="microseconds of a token in it (default: measured)")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    measured = options.step is None and options.token is None
    if not measured:
        parser.refuse(options, "has no effect beside --step and --token, the times of a step", "shape")
        if options.step is None or options.token is None:
            parser.error("arguments --step and --token: give both, or none of them")
    facts = harness.environment("fleet", arguments, device="cuda" if measured and torch.cuda.is_available() else "cpu")
    facts["times"] = "simulated; those of a step are " + (f"measured, {options.shape}" if measured else "given")
    harness.print_header(facts)
    times = measure(options.shape) if measured else Times(options.step / 1e3, options.token / 1e6)
    # A request without a cache: its prompt and its share of decode steps. Half of what all replicas could do then.
    alone = times.step + times.token * SYSTEM_TOKENS * 2
    rate = options.rate or 0.5 * options.replicas / alone
    print(f"a step: {times.step * 1e3:.2f} ms and {times.token * 1e6:.1f} us a token; {rate:,.1f} arrivals a second")
    runs = {}
    for policy in POLICIES:
        load = options.replicas, options.users, rate, options.requests, options.pages
        try:
            runs[policy] = simulate(policy, times, *load, options.busy)
        except ValueError as error:
            parser.error(f"--pages {options.pages}: {error}")
        print(f"{policy}: done", flush=True)
    harness.print_table(
        f"{options.replicas} replicas, {options.users:,} users, {options.requests:,} requests",
        ("", "hit rate", "busiest / mean", "first token p50", "p99", "needed"),
        [
            (
                name,
                f"{row['hit_rate']:.1%}",
                f"{row['balance']:.2f}",
                f"{row['first_p50'] * 1e3:,.1f} ms",
                f"{row['first_p99'] * 1e3:,.1f} ms",
                str(row["needed"] or "-"),
            )
            for name, row in runs.items()
        ],
    )
    if options.save:
        results = {"replicas": options.replicas, "users": options.users, "rate": rate, "step": times.step}
        print(f"Recorded in {harness.save_results('fleet', facts, results | {'token': times.token, 'runs': runs})}")
