"""What the checks of lesson 06 share."""

from __future__ import annotations

from collections import deque
from typing import Any

from yaie.engine import scheduler
from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.kv_cache import KVCacheManager


def make(num_blocks: int, *, prefix_cache: bool = False, block_size: int = 4, **options: Any) -> scheduler.Scheduler:
    """A scheduler over an empty pool of one head with one number per token; no model is needed."""
    pages = Pages(KVCacheManager(num_blocks, block_size, 1, 1), prefix_cache=prefix_cache)
    return scheduler.Scheduler(pages, **options)


def make_request(arrival: int, prompt: int | list[int], num_generated: int = 0) -> Request:
    """Request "r<arrival>"; its prompt is given, or only the length of one that shares nothing with others."""
    if isinstance(prompt, int):
        prompt = [100 * (arrival + 1) + place for place in range(prompt)]
    request = Request(f"r{arrival}", prompt, SamplingParams(), arrival, max_tokens=99, text=TextStream(None))
    for number in range(num_generated):
        request.append(5000 + number)
    return request


def let_run(line: scheduler.Scheduler, request: Request, num_computed: int) -> None:
    """Make a request run, by hand: pages for all of its tokens, and so many of them computed."""
    line.pages.admit(request)
    line.running.append(request)
    set_computed(request, num_computed)


def set_computed(request: Request, num_computed: int) -> None:
    request.hold(request.locked_node, request.num_published_tokens, num_computed)


def names(value: Any) -> Any:
    """Requests by their names; whatever else it is as it is."""
    if isinstance(value, Request):
        return value.request_id
    return [names(item) for item in value] if isinstance(value, list | tuple | deque) else value
