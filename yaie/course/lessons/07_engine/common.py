"""What the checks of lesson 07 share."""

from __future__ import annotations

from collections.abc import Sequence

from yaie.course.expect import expect
from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import radix_tree
from yaie.kernels.kv_cache import KVCacheManager

Cached = Sequence[tuple[list[int], list[int]]]  # tokens, and the pages that hold them


def make_pages(num_blocks: int, size: int, cached: Cached = (), *, prefix_cache: bool = True) -> Pages:
    """A pool whose prefix cache holds `cached`, put there without the functions under test."""
    pages = Pages(KVCacheManager(num_blocks, size, num_heads=1, head_dim=1), prefix_cache=prefix_cache)
    for tokens, table in cached:
        pages.cache.insert(tokens, table)
        for page in table:
            if page in pages.kv.free_block_list:
                pages.kv.free_block_list.remove(page)
                pages.kv.ref_counts[page] = pages.kv.cache_refs[page] = 1
    return pages


def make_request(tokens: list[int]) -> Request:
    return Request("A", tokens, SamplingParams(), arrival=0, max_tokens=8, text=TextStream(None))


def expect_locked(request: Request, tokens: list[int]) -> None:
    node = request.locked_node
    found = None if node is None else radix_tree.tokens_to(node).tolist()
    expect(found, tokens, "tokens on the path to request.locked_node")
