"""The radix prefix cache: match, insert and evict, against a trie with a node per token.

The workload: requests that share one system prompt, each with one of 16 few-shot parts and tokens of its own. A page
holds one token, which is the most that there can be to do.
"""

from __future__ import annotations

import functools
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from yaie.bench import harness
from yaie.engine.prefix_cache import PrefixCache
from yaie.options import Parser, several, whole
from yaie.profiling import timing
from yaie.profiling.timing import Timing

SYSTEM, FEW_SHOT, OWN, NUM_PARTS = 1024, 512, 128, 16
EVICT_STEP = 1024
# Measured elsewhere with a published SGLang-style cache (Python over torch tensors) on a 2-core machine: seconds.
PUBLISHED = {"match": 13e-6, "match + insert": 124e-6, "evict all": 51e-3}


measure = functools.partial(timing.measure, clock=time.process_time)  # one thread that only computes


class TokenTrie:
    """The plain way, to compare with: a node, that is a dict, per token; `children[None]` holds the page."""

    def __init__(self) -> None:
        self.root: dict = {}
        self.num_nodes = 1

    def match(self, tokens: list[int]) -> list[int]:
        """The pages of the longest known prefix."""
        node, pages = self.root, []
        for token in tokens:
            node = node.get(token)
            if node is None:
                break
            pages.append(node[None])
        return pages

    def insert(self, tokens: list[int], pages: list[int]) -> None:
        """Add what is not known yet."""
        node = self.root
        for token, page in zip(tokens, pages, strict=True):
            child = node.get(token)
            if child is None:
                child = node[token] = {None: page}
                self.num_nodes += 1
            node = child


def make_requests(num_requests: int, scale: float = 1.0, seed: int = 0) -> list[np.ndarray]:
    """Requests of `scale` * 1,664 tokens: the system prompt, one of 16 few-shot parts, tokens of their own."""
    rng = np.random.default_rng(seed)

    def draw(length: int) -> np.ndarray:
        return rng.integers(0, 128_000, size=round(length * scale))

    system, parts = draw(SYSTEM), [draw(FEW_SHOT) for _ in range(NUM_PARTS)]
    return [np.concatenate([system, parts[i % NUM_PARTS], draw(OWN)]) for i in range(num_requests)]


def match_and_insert(cache: PrefixCache | TokenTrie, requests: list, pages: list) -> None:
    """What an engine does with each request: look it up, and publish it when it is done."""
    for tokens, where in zip(requests, pages, strict=True):
        cache.match(tokens[:-1])
        cache.insert(tokens, where)


def match_all(cache: PrefixCache | TokenTrie, requests: list) -> None:
    """Look every request up; all but its last token is found."""
    for tokens in requests:
        cache.match(tokens[:-1])


def evict_all(cache: PrefixCache) -> None:
    """Evict in steps until nothing is left."""
    while len(cache.evict(EVICT_STEP)):
        pass


def pages_for(requests: list[np.ndarray]) -> list[np.ndarray]:
    """A page of its own for every token of every request."""
    ends = np.cumsum([len(tokens) for tokens in requests])
    return [np.arange(end - len(tokens), end) for tokens, end in zip(requests, ends, strict=True)]


def filled(make: Callable, requests: list, pages: list):
    """A cache made by `make` that holds all requests."""
    cache = make()
    match_and_insert(cache, requests, pages)
    return cache


def time_cache(make: Callable, requests: list, pages: list, repeats: int) -> dict[str, Timing]:
    """Per request: match + insert into a cache that starts empty, and match in the full one."""
    full = filled(make, requests, pages)
    count = len(requests)
    return {
        "match": measure(lambda: match_all(full, requests), items=count, repeats=repeats),
        "match + insert": measure(
            lambda cache: match_and_insert(cache, requests, pages), setup=make, items=count, repeats=repeats
        ),
    }


def time_evict(requests: list, pages: list, repeats: int, policy: str = "lru") -> Timing:
    """Evict everything from a full cache, in steps."""
    return measure(
        evict_all, setup=lambda: filled(lambda: PrefixCache(policy=policy), requests, pages), repeats=repeats
    )


def memory_of(make: Callable, requests: list, pages: list) -> int:
    """Bytes that a full cache holds (traced, so not timed)."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cache = filled(make, requests, pages)
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del cache
    return size


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench radix", description=__doc__)
    parser.add_argument("--requests", type=whole, default=2000, help="number of requests (default: %(default)s)")
    parser.add_argument("--repeats", type=several, default=7, help="timed runs of each (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    if options.requests < NUM_PARTS:
        parser.error(f"--requests must be at least {NUM_PARTS}, one for each few-shot part")

    facts = harness.environment("radix", arguments, clock="CPU time of the process")
    harness.print_header(facts)
    requests = make_requests(options.requests)
    pages = pages_for(requests)
    lists, page_lists = [r.tolist() for r in requests], [s.tolist() for s in pages]
    full = filled(PrefixCache, requests, pages)
    full.check_integrity()
    workload = f"{options.requests:,} requests of {len(requests[0]):,} tokens, {full.total_size:,} distinct"

    ours = time_cache(PrefixCache, requests, pages, options.repeats)
    ours["evict all"] = time_evict(requests, pages, options.repeats)
    rows = []
    for what, published in PUBLISHED.items():
        scale, unit = timing.unit_for(published)
        rows.append((what, ours[what], f"{published * scale:g} {unit}", f"{published / ours[what].median:.1f}x"))
    harness.print_table(
        f"{workload}; eviction in steps of {EVICT_STEP:,}",
        ["", "PrefixCache", "published SGLang-style cache", "published / PrefixCache"],
        rows,
    )
    if options.requests != 2000:
        print("The published times are for 2,000 requests.")

    from_lists = time_cache(PrefixCache, lists, page_lists, options.repeats)
    trie = time_cache(TokenTrie, lists, page_lists, options.repeats)
    memory = {"PrefixCache": memory_of(PrefixCache, requests, pages), "trie": memory_of(TokenTrie, lists, page_lists)}
    num_nodes = filled(TokenTrie, lists, page_lists).num_nodes
    rows = [
        (what, ours[what], from_lists[what], trie[what], f"{trie[what].median / ours[what].median:.1f}x")
        for what in ("match", "match + insert")
    ]
    ratio = memory["trie"] / memory["PrefixCache"]
    megabytes = {name: f"{size / 1e6:.1f} MB" for name, size in memory.items()}
    rows.append(("memory", megabytes["PrefixCache"], "", megabytes["trie"], f"{ratio:.1f}x"))
    harness.print_table(
        f"The same, per request, against a trie with a node per token ({num_nodes:,} nodes)",
        ["", "PrefixCache, numpy tokens", "PrefixCache, lists", "trie", "trie / PrefixCache"],
        rows,
    )

    by_requests, by_tokens = [], []
    for factor in (1 / 4, 1 / 2, 1, 2):
        some = make_requests(max(NUM_PARTS, round(options.requests * factor)))
        where = pages_for(some)
        times = time_cache(PrefixCache, some, where, options.repeats)
        num_tokens = filled(PrefixCache, some, where).total_size
        evict = time_evict(some, where, options.repeats)
        by_requests.append(
            (len(some), times["match"], times["match + insert"], f"{evict.median / num_tokens * 1e9:.2f} ns")
        )
    harness.print_table(
        "Cost per request as requests are added: it stays",
        ["requests", "match", "match + insert", "evict, per token"],
        [(f"{n:,}", *rest) for n, *rest in by_requests],
    )
    few = min(options.requests, NUM_PARTS * 8)
    for scale in (1 / 4, 1, 4, 16):
        some = make_requests(few, scale)
        times = time_cache(PrefixCache, some, pages_for(some), options.repeats)
        length = len(some[0])
        by_tokens.append(
            (length, times["match"], times["match + insert"], f"{times['match'].median / length * 1e9:.2f} ns")
        )
    harness.print_table(
        f"Cost per request as requests get longer ({few} requests): it grows with the tokens",
        ["tokens", "match", "match + insert", "match, per token"],
        [(f"{n:,}", *rest) for n, *rest in by_tokens],
    )

    if options.save:
        results = {
            "workload": workload,
            "published": PUBLISHED,
            "PrefixCache": ours,
            "PrefixCache from lists": from_lists,
            "trie": trie,
            "memory_bytes": memory,
            "by_requests": by_requests,
            "by_tokens": by_tokens,
        }
        print(f"Recorded in {harness.save_results('radix', facts, results)}")
