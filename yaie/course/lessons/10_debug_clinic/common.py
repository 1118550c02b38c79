"""What the checks of lesson 10 share.

A case has two exercises: one asks for the input (a function of `clinic.py`), the next shows the broken function of the
engine. What is broken is said once, in `broken` of the second; the first takes it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from yaie.course.expect import Mismatch, first_difference, given, plain, shown
from yaie.course.language import engine_seam
from yaie.course.registry import find_exercise
from yaie.cuda import KernelError
from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.prefix_cache import PrefixCache
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Scheduler
from yaie.kernels.kv_cache import KVCacheManager, OutOfBlocksError
from yaie.kernels.radix_tree import RadixTree


def module(file: str, check: bool = True) -> Any:
    """The launchers of a file of csrc/ in the emulator, with all checks or with none."""
    return engine_seam.module(file, check=check)


# --- to find an input -----------------------------------------------------------------------------------------


def valid(condition: bool, value: Any, wanted: str) -> None:
    """Raise `Mismatch` unless what the learner gives is an input of the case at all."""
    if not condition:
        raise Mismatch("form of the input", shown(value), wanted, "", "")


def are_ints(values: Any, low: int, high: int) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) and low <= v <= high for v in values)


def expose(fixing: str, function: str, text: str, run: Callable[[], Any]) -> None:
    """Raise `Mismatch` unless the broken function of exercise `fixing` gives something else than the right one.

    `text` names the input. `run` calls the engine with it; a finding of the emulator is a result as well.
    """
    with given(text):
        right = outcome(run)
        exercise = find_exercise(fixing)
        with exercise.language.as_found(exercise):
            broken = outcome(run)
        if first_difference(broken, right) is None:
            note = "Read the broken function line by line with this input: on which other one would a line go wrong?"
            wanted = f"an input on which the broken `{function}` does something else"
            raise Mismatch("input", f"the same from both: {shown(right, limit=200)}", wanted, "", note)
    print(f"right:  {shown(right, str, 300)}\nbroken: {shown(broken, str, 300)}")


def outcome(run: Callable[[], Any]) -> Any:
    try:
        return plain(run())
    except KernelError as error:
        return error.findings[0].text.split("\n    likely cause")[0]


# --- case 1: copy_blocks ----------------------------------------------------------------------------------------


def copied_block(num_floats: int) -> torch.Tensor:
    """Block 1 after block 0 was copied to it, in a cache of 0, 1, 2, ... with `num_floats` numbers in a block."""
    keys = torch.arange(2 * num_floats, dtype=torch.float32)
    values = -keys
    pairs = torch.tensor([[0, 1]])
    module("memory/copy_blocks.cu").copy_blocks_1_elements(keys, values, pairs, 1, 1, 2, 4 * num_floats)
    return keys[num_floats:]


# --- case 2: find_shared_prefixes -------------------------------------------------------------------------------


def shared(stored: list[int], asked: list[int]) -> tuple[list[str], int]:
    tree = RadixTree()
    tree.insert_request("a", stored)
    return tree.find_shared_prefixes(asked)


# --- case 3: silu_mul -------------------------------------------------------------------------------------------


def gated(values: list[float]) -> torch.Tensor:
    """silu(value) * 1 for each value."""
    rows = torch.tensor([[value, 1.0] for value in values])
    out = torch.zeros(len(values), 1)
    module("model_ops/silu_mul.cu").silu_mul_1_elements(rows, out, len(values), 1, 0)
    return out[:, 0]


# --- case 4: gather_pages ---------------------------------------------------------------------------------------


def gathered(table: list[int]) -> torch.Tensor:
    """What is collected along a block table from a pool of 8 blocks of 2 tokens: block b holds 2 b and 2 b + 1."""
    pool = torch.arange(16, dtype=torch.float32).view(8, 2, 1)
    out = torch.full((2 * len(table), 1), -1.0)
    module("memory/gather_pages.cu").gather_pages(pool, torch.tensor(table), out, len(out), 2, 4)
    return out[:, 0]


# --- case 5: transpose ------------------------------------------------------------------------------------------


def transposed(rows: int, cols: int) -> torch.Tensor:
    """The transpose of a matrix of 0, 1, 2, ..., through a tile in shared memory."""
    x = torch.arange(rows * cols, dtype=torch.float32).view(rows, cols)
    y = torch.full((cols, rows), -1.0)
    module("memory/transpose.cu").transpose_2_tiled(x, y, rows, cols)
    return y


# --- case 6: reshape_and_cache ----------------------------------------------------------------------------------


def stored(slots: list[int]) -> torch.Tensor:
    """A pool of 4 slots of 0 after the tokens 1, 2, ... went to their slots."""
    keys = torch.arange(1, len(slots) + 1, dtype=torch.float32)
    key_cache, value_cache = torch.zeros(4), torch.zeros(4)
    launch = module("memory/reshape_and_cache.cu").reshape_and_cache
    launch(keys, -keys, key_cache, value_cache, torch.tensor(slots), len(slots), 4)
    return key_cache


# --- case 7: append_tokens --------------------------------------------------------------------------------------


def append_to_fork(num_blocks: int, prompt: int, more: int) -> dict[str, Any]:
    """What "child" has after `append_tokens`: the error, if there was one, its number of blocks, the free blocks."""
    pool = KVCacheManager(num_blocks, 4, 1, 1, dtype=torch.float32)
    pool.allocate_blocks("parent", prompt)
    pool.fork("parent", "child")
    try:
        pool.append_tokens("child", more)
        error = None
    except OutOfBlocksError:
        error = "OutOfBlocksError"
    shares = sum(a == b for a, b in zip(pool.block_tables["parent"], pool.block_tables["child"], strict=False))
    return {
        "error": error,
        "blocks of child": len(pool.block_tables["child"]),
        "of them shared": shares,
        "free blocks": pool.num_free_blocks,
    }


# --- case 8: PrefixCache.match ----------------------------------------------------------------------------------


def evicted_after(prompts: list[list[int]]) -> list[list[int]]:
    """The tokens that are gone from an LFU cache when one token is evicted after these prompts."""
    cache, prefixes = PrefixCache(page_size=1, policy="lfu"), {}
    for prompt in prompts:
        cache.match(prompt)
        pages = [100 * len(prefixes) + place for place in range(len(prompt))]
        num_present = cache.insert(prompt, pages).present
        prefixes |= {pages[i]: prompt[: i + 1] for i in range(num_present, len(prompt))}
    return [prefixes[page] for page in cache.evict(1).tolist()]


# --- case 9: reduce_2 -------------------------------------------------------------------------------------------


def total(launcher: str, n: int) -> float:
    """The sum of 1, 2, ..., n by a launcher of reduce.cu."""
    x, sum_ = torch.arange(1, n + 1, dtype=torch.float32), torch.zeros(1)
    getattr(module("memory/reduce.cu"), launcher)(x, sum_, n)
    return sum_.item()


# --- case 10: Scheduler.schedule --------------------------------------------------------------------------------


def steps_of(arrivals: list[tuple[int, int]], num_steps: int = 30) -> list[dict[str, int]]:
    """What each step computes: the number of tokens of every running request, 0 for one that waits for its turn."""
    pages = Pages(KVCacheManager(64, 4, 1, 1), prefix_cache=False)
    scheduler = Scheduler(pages, max_num_batched_tokens=8, max_num_seqs=8)
    record = []
    for step in range(num_steps):
        for number, (arrival, prompt) in enumerate(arrivals):
            if arrival == step:
                tokens = [100 * number + place for place in range(prompt)]
                scheduler.add(Request(f"r{number}", tokens, SamplingParams(), number, 6, TextStream(None)))
        decodes = {request.request_id: 0 for request in scheduler.running if request.is_decode}
        batch = scheduler.schedule()
        record.append(decodes | {request.request_id: num_tokens for request, num_tokens in batch.items()})
        for request, num_tokens in batch.items():
            pages.advance(request, num_tokens)
            if request.num_uncomputed_tokens == 0:
                request.append(7)
            if request.num_output_tokens == 6:
                scheduler.finish(request, "length")
        if not scheduler.running and not scheduler.waiting and step >= max(a for a, _ in arrivals):
            break
    return record


# --- case 11: take_scores ---------------------------------------------------------------------------------------


def mean_by_scores(scores: list[float]) -> float:
    """The mean of 0, 1, 2, ... weighted by softmax(scores): attention of one query with a head of 8 numbers."""
    n = len(scores)
    query, key = torch.zeros(1, 1, 8), torch.zeros(n, 1, 8)
    query[..., 0] = 1
    key[:, 0, 0] = torch.tensor(scores)
    value = torch.arange(n, dtype=torch.float32).view(n, 1, 1).repeat(1, 1, 8)
    out = torch.zeros(1, 1, 8)
    starts = [torch.tensor([0, length], dtype=torch.int32) for length in (1, n)]
    launch = module("flash_attention/flash_attention_2_tiles.cu").flash_attention_2_tiles
    launch(query, key, value, out, *starts, 1, 1, 1, 1, 8, 1.0, 0, 0)
    return out[0, 0, 0].item()
