"""What the checks of lesson 10 share.

A case has two exercises: one asks for the input (a function of `clinic.py`), the next shows the broken function of the
engine. What is broken is said once, in `broken` of the second; the first takes it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from yaie.kernels import attention, sampling
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
        right, broken = outcomes(fixing, run)
        if first_difference(broken, right) is None:
            note = "Read the broken function line by line with this input: on which other one would a line go wrong?"
            wanted = f"an input on which the broken `{function}` does something else"
            raise Mismatch("input", f"the same from both: {shown(right, limit=200)}", wanted, "", note)
    print(f"right:  {shown(right, str, 300)}\nbroken: {shown(broken, str, 300)}")


def outcomes(fixing: str, run: Callable[[], Any]) -> tuple[Any, Any]:
    """What the right function and the broken one give."""
    right = outcome(run)
    exercise = find_exercise(fixing)
    with exercise.language.as_found(exercise):
        return right, outcome(run)


def outcome(run: Callable[[], Any]) -> Any:
    try:
        return plain(run())
    except KernelError as error:
        return error.findings[0].text.split("\n    likely cause")[0]


# --- case 1: copy_blocks ---------------------------------------------------------------------------------------


def copied_layers(
    num_layers: int, pairs: Sequence[tuple[int, int]] = ((0, 1),), copy: Callable[..., Any] | None = None
) -> list[list[list[float]]]:
    """Keys, then values, of each layer after blocks were copied, in a cache of 0, 1, 2, ... with blocks of 4 numbers.

    `pairs` are (source, target). The launcher of `copy_blocks` does it, or `copy`.
    """
    num_blocks = 1 + max(max(pair) for pair in pairs)
    keys = torch.arange(num_layers * num_blocks * 4, dtype=torch.float32).view(num_layers, num_blocks, 4)
    values = -keys
    mapping = torch.tensor(pairs)
    if copy is not None:
        copy(keys, values, mapping)
    else:
        launch = module("memory/copy_blocks.cu").copy_blocks_1_elements
        launch(keys, values, mapping, len(pairs), num_layers, num_blocks, 16)
    return [cache.flatten(1).tolist() for cache in (keys, values)]


# --- case 2: find_shared_prefixes -------------------------------------------------------------------------------


def shared(stored: list[int], asked: list[int]) -> tuple[list[str], int]:
    tree = RadixTree()
    tree.insert_request("a", stored)
    return tree.find_shared_prefixes(asked)


# --- case 3: apply_penalties -----------------------------------------------------------------------------------


def punished(logits: list[list[float]], penalties: Sequence[float] = (2.0,)) -> list[list[float]]:
    """The logits after a repetition penalty for each row; token 0 is in the prompt, and no token in the output."""
    rows = torch.tensor(logits)
    in_prompt = torch.zeros(rows.shape, dtype=torch.bool)
    in_output = in_prompt.clone()
    in_prompt[:, 0] = True
    penalty = torch.tensor(penalties)
    return sampling.apply_penalties(rows, in_prompt, in_output, penalty, torch.zeros(len(rows))).tolist()


# --- case 4: _drop_references ----------------------------------------------------------------------------------


def is_event(event: Any) -> bool:
    """Whether this is ("new", name, tokens), ("fork", name, new name) or ("end", name)."""
    if not isinstance(event, list | tuple) or len(event) < 2 or not all(isinstance(name, str) for name in event[:2]):
        return False
    kind, _, *more = event
    return (
        (kind == "new" and len(more) == 1 and are_ints(more, 1, 32))
        or (kind == "fork" and len(more) == 1 and isinstance(more[0], str))
        or (kind == "end" and not more)
    )


def pool_after(events: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The block table of each request and the free list, in a pool of 8 blocks of 4 tokens, after these events."""
    pool = KVCacheManager(8, 4, 1, 1, dtype=torch.float32)
    act = {"new": pool.allocate_blocks, "fork": pool.fork, "end": pool.free_blocks}
    for kind, *arguments in events:
        act[kind](*arguments)
    return {"block tables": pool.block_tables, "free blocks": pool.free_block_list}


# --- case 5: transpose ------------------------------------------------------------------------------------------


def transposed(rows: int, cols: int) -> torch.Tensor:
    """The transpose of a matrix of 0, 1, 2, ..., through a tile in shared memory."""
    x = torch.arange(rows * cols, dtype=torch.float32).view(rows, cols)
    y = torch.full((cols, rows), -1.0)
    module("memory/transpose.cu").transpose_2_tiled(x, y, rows, cols)
    return y


# --- case 6: embedding -----------------------------------------------------------------------------------------


def embedded(ids: list[int], width: int = 1) -> list[float]:
    """The rows that are fetched for token ids from a table of 4 rows: 10, 11, 12, 13, each `width` times."""
    table = torch.arange(10, 14, dtype=torch.float32).repeat_interleave(width)
    out = torch.zeros(len(ids) * width)
    module("model_ops/embedding.cu").embedding(table, torch.tensor(ids), out, len(ids), 4, 4 * width)
    return out.tolist()


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


# --- cases 9 and 12: reduce ------------------------------------------------------------------------------------


def total(launcher: str, n: int) -> float:
    """The sum of 1, 2, ..., n by a launcher of reduce.cu."""
    return totals([n], launcher)[0]


def totals(counts: list[int], launcher: str = "reduce_2_shared", start: float = 0.0) -> list[float]:
    """The sums of 1, 2, ..., n for each n, one after the other into the same tensor, which holds `start` at first."""
    sum_, sums = torch.tensor([start]), []
    for n in counts:
        getattr(module("memory/reduce.cu"), launcher)(torch.arange(1, n + 1, dtype=torch.float32), sum_, n)
        sums.append(sum_.item())
    return sums


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


# --- case 11: causal_attention ---------------------------------------------------------------------------------


def means_seen(past: int, new: int, keep: torch.Tensor | None = None) -> list[float]:
    """What each new token gets where all keys have the same weight and token j has the value j.

    65,536 heads, all alike: of `MAX_SCORES` scores, a head has 64.
    """
    num_heads = attention.MAX_SCORES // 64
    query = torch.zeros(1, new, num_heads, 1)
    key = torch.zeros(1, past + new, 1, 1)
    value = torch.arange(past + new, dtype=torch.float32).view(1, -1, 1, 1)
    out, _ = attention.causal_attention(query, key, value, past, keep, 1.0)
    return [round(mean, 3) for mean in out[0, :, 0, 0].tolist()]
