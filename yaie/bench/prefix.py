"""Attention of a decode step over a shared prefix: pages read once for all requests, and by each of them.

Every request has the prefix, whose pages it shares with the others, and 64 tokens of its own. Both ways follow a plan
that was made beforehand, and their results are compared. The ratio is that of times measured in turn. Without a
prefix nothing is shared; what looking for shared pages costs is then all that can be lost.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from yaie.bench import card, harness
from yaie.kernels import ops
from yaie.kernels.ops import Operations
from yaie.kernels.paged import SharedPages, shared_pages
from yaie.options import Parser, several, whole
from yaie.profiling import timing

OWN, PAGE = 64, 16
HEADS = {"cpu": (8, 2, 64), "cuda": (32, 8, 128)}  # of queries, of keys and values, head_dim
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}


def make(device: str, num_seqs: int, prefix: int) -> tuple[list[torch.Tensor], np.ndarray, np.ndarray]:
    """Query and both caches; block tables; lengths."""
    heads, kv_heads, head_dim = HEADS[device]
    shared, own = prefix // PAGE, OWN // PAGE
    pages = np.random.default_rng(0).permutation(shared + num_seqs * own)
    tables = np.hstack((np.tile(pages[:shared], (num_seqs, 1)), pages[shared:].reshape(num_seqs, own)))
    cache = len(pages), PAGE, kv_heads, head_dim
    tensors = [
        torch.randn(size, device=device).to(DTYPES[device]) for size in ((num_seqs, heads, head_dim), cache, cache)
    ]
    return tensors, tables, np.full(num_seqs, prefix + OWN)


def ways(
    operations: Operations, tensors: list[torch.Tensor], tables: np.ndarray, lens: np.ndarray
) -> dict[str, Callable[[], torch.Tensor]]:
    """A call for each way. Whatever the rule says, all that is shared is read once in the second."""
    on_device = torch.from_numpy(tables).to(tensors[0].device)

    def way(shared: list[SharedPages]) -> Callable[[], torch.Tensor]:
        plan = operations.plan_attention(on_device, lens, None, tensors[1], shared)
        return lambda: operations.paged_attention_forward(*tensors, None, None, None, None, plan)

    return {"by each": way([]), "once": way(shared_pages(tables, (lens - 1) // PAGE, 1))}


def measure(device: str, num_seqs: int, prefix: int, repeats: int) -> dict[str, float]:
    """Median seconds of each way, and median and quartiles of their ratio."""
    tensors, tables, lens = make(device, num_seqs, prefix)
    calls = ways(ops.operations("cuda" if device == "cuda" else "torch"), tensors, tables, lens)
    torch.testing.assert_close(
        *(call().float() for call in calls.values()), rtol=0, atol=2e-2 if device == "cuda" else 2e-5
    )
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            if device == "cuda":
                seconds = card.measure_calls([call], 0.02).median
            else:
                seconds = timing.measure(call, repeats=2, clock=time.process_time).median
            times[name].append(seconds)
    q1, median, q3 = statistics.quantiles(np.divide(times["by each"], times["once"]), n=4, method="inclusive")
    return {name: statistics.median(each) for name, each in times.items()} | {"ratio": median, "q1": q1, "q3": q3}


def share_of_looking(device: str, num_seqs: int, context: int) -> dict[str, float]:
    """What looking for shared pages costs where there are none, beside the attention of one layer."""
    tensors, tables, lens = make(device, num_seqs, 0)
    tables = np.arange(num_seqs * (context // PAGE)).reshape(num_seqs, -1)
    shareable = np.full(num_seqs, context // PAGE)
    looking = timing.measure(lambda: shared_pages(tables, shareable, 32), clock=time.process_time).median
    cache = torch.zeros(tables.size, *tensors[1].shape[1:], device=device, dtype=DTYPES[device])
    by_each = ways(
        ops.operations("cuda" if device == "cuda" else "torch"),
        [tensors[0], cache, cache],
        tables,
        lens - OWN + context,
    )
    attention = timing.measure(by_each["by each"], repeats=3, clock=time.process_time).median
    return {"looking": looking, "attention of a layer": attention}


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench prefix", description=__doc__)
    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=here, help="default: %(default)s")
    parser.add_argument("--batch", type=whole, nargs="+", default=[2, 4, 8, 16, 64], help="default: %(default)s")
    parser.add_argument(
        "--prefix", type=whole, nargs="+", default=[16, 64, 256, 1024, 4096], help="default: %(default)s"
    )
    parser.add_argument("--repeats", type=several, default=11, help="pairs of timings (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU")
    torch.set_num_threads(1)
    clock = "CUDA events" if options.device == "cuda" else "CPU time of the process"
    facts = harness.environment("prefix", arguments, device=options.device, clock=clock)
    harness.print_header(facts)
    print(
        f"heads {HEADS[options.device]}, {DTYPES[options.device]}, {OWN} tokens of each request's own, pages of {PAGE}"
    )
    torch.manual_seed(0)
    results = {
        f"{batch} x {prefix}": measure(options.device, batch, prefix, options.repeats)
        for batch in options.batch
        for prefix in options.prefix
    }

    def cell(batch: int, prefix: int) -> str:
        result = results[f"{batch} x {prefix}"]
        return f"{result['ratio']:.2f} [{result['q1']:.2f}, {result['q3']:.2f}]"

    harness.print_table(
        "How many times faster the pages of a prefix are read once than by each request",
        ["requests", *(f"prefix {prefix}" for prefix in options.prefix)],
        [(batch, *(cell(batch, prefix) for prefix in options.prefix)) for batch in options.batch],
    )
    nothing = share_of_looking(options.device, max(options.batch), 1024)
    print("Nothing shared: " + ", ".join(f"{name} {seconds * 1e6:.0f} us" for name, seconds in nothing.items()))
    if options.save:
        print(f"Recorded in {harness.save_results('prefix', facts, {'prefix': results, 'nothing shared': nothing})}")
