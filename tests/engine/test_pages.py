"""Pages change hands: reuse, publish, evict, give back, and the law that no page is ever lost or held twice."""

import numpy as np
import pytest
import torch

from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import radix_tree
from yaie.kernels.kv_cache import KVCacheManager


class Bench:
    """A pool, its pages, and requests that are admitted and computed by hand."""

    def __init__(self, num_blocks: int = 16, block_size: int = 2, **options) -> None:
        self.pages = Pages(KVCacheManager(num_blocks, block_size, 1, 2, torch.float32), **options)
        self.running: list[Request] = []

    def request(self, *tokens: int) -> Request:
        number = len(self.running) + 100 * sum(tokens)
        return Request(f"{tokens}-{number}", tokens, SamplingParams(), number, 99, TextStream(None))

    def admit(self, *tokens: int) -> Request:
        request = self.request(*tokens)
        assert self.pages.admit(request)
        self.running.append(request)
        self.check()
        return request

    def compute(self, request: Request, num_tokens: int | None = None) -> None:
        """All tokens but the last, or so many."""
        request.num_computed_tokens = num_tokens or request.num_tokens - 1

    def end(self, request: Request, **options) -> None:
        self.running.remove(request)
        self.pages.give_back(request, **options)
        request.finish("stop")
        self.check()

    def serve(self, *tokens: int) -> None:
        """A request from beginning to end; one token more than given, so that all of these are computed."""
        request = self.admit(*tokens, 0)
        self.compute(request)
        self.end(request)

    def table(self, request: Request) -> list[int]:
        return self.pages.kv.block_tables[request.request_id]

    def cached(self, *tokens: int) -> list[int]:
        return self.pages.cache.match(tokens).pages.tolist()

    def check(self) -> None:
        self.pages.check_integrity(self.running)


def test_a_finished_request_leaves_its_whole_pages_for_the_next():
    """Would catch a prefix that is not found, half a page that is, or one found before it was computed."""
    bench = Bench()
    first = bench.admit(1, 2, 3, 4, 5, 6, 7)
    bench.compute(first, 5)
    first_pages = bench.table(first)[:2]
    bench.end(first)
    second = bench.admit(1, 2, 3, 4, 5, 6, 7)
    assert second.num_computed_tokens == second.num_published_tokens == 4
    assert bench.table(second)[:2] == first_pages
    assert bench.pages.counts(bench.running) == (12, 0, 2, 2, 16)


@pytest.mark.parametrize("length", [2, 4, 3, 5])
def test_an_exact_repeat_leaves_a_token_to_compute(length):
    """Would catch a full prefix hit: a query of length 0 has no logits, so no next token."""
    bench = Bench()
    tokens = list(range(10, 10 + length))
    bench.serve(*tokens)
    again = bench.admit(*tokens)
    assert again.num_computed_tokens == (length - 1) // 2 * 2
    assert again.num_uncomputed_tokens >= 1


def test_a_twin_goes_on_with_the_pages_that_were_published_first():
    """Would catch the table that keeps naming duplicates after they were freed: it soon reads others' keys."""
    bench = Bench()
    first, twin = bench.admit(1, 2, 3, 4, 5), bench.admit(1, 2, 3, 4, 6)
    bench.compute(first), bench.compute(twin)
    duplicates = bench.table(twin)[:2]
    bench.pages.publish(first)
    bench.pages.publish(twin)
    bench.check()
    assert bench.table(twin)[:2] == bench.table(first)[:2] == bench.cached(1, 2, 3, 4)
    assert set(duplicates) <= set(bench.pages.kv.free_block_list)
    assert bench.pages.num_duplicates == 2
    stranger = bench.admit(*range(20, 40))  # takes the freed pages
    assert not set(bench.table(stranger)) & {*bench.table(first), *bench.table(twin)}
    bench.end(first)
    assert bench.pages.make_room(16 - 10 - 3) is True
    assert bench.table(twin)[:2] == bench.cached(1, 2, 3, 4)  # still locked by the twin


def test_a_twin_that_computed_more_adds_only_what_is_new():
    """Would catch a publication that frees pages the cache has just taken, or keeps both copies of a page."""
    bench = Bench()
    first, twin = bench.admit(1, 2, 3, 4, 5, 6, 7), bench.admit(1, 2, 3, 4, 5, 6, 7)
    bench.compute(first, 2), bench.compute(twin, 6)
    bench.pages.publish(first)
    own = list(bench.table(twin))
    bench.pages.publish(twin)
    bench.check()
    assert bench.table(twin) == [bench.table(first)[0], *own[1:]]
    bench.compute(first, 6)
    bench.pages.publish(first)
    bench.check()
    assert bench.table(first)[:3] == bench.table(twin)[:3]
    bench.end(first), bench.end(twin)
    assert bench.pages.counts([]) == (13, 3, 0, 0, 16)


def test_publishing_again_moves_the_lock_and_counts_it_once():
    """Would catch a lock that is never given back: its pages could never be evicted."""
    bench = Bench()
    request = bench.admit(*range(9))
    for num_tokens in (1, 2, 5, 8):
        bench.compute(request, num_tokens)
        bench.pages.publish(request)
        bench.check()
        assert request.num_published_tokens == num_tokens // 2 * 2
        assert bench.pages.cache.protected_size == num_tokens // 2
    bench.end(request)
    assert bench.pages.cache.protected_size == 0
    assert bench.pages.make_room(16)


def test_a_page_that_somebody_reads_is_not_evicted():
    """Would catch eviction that ignores locks."""
    bench = Bench(num_blocks=6)
    bench.serve(1, 2, 3, 4)
    bench.serve(7, 8, 9, 9)
    reader = bench.admit(1, 2, 3, 4, 5)
    pages = bench.table(reader)[:2]
    assert not bench.pages.make_room(4)
    assert bench.cached(7, 8, 9, 9), "pages were evicted although that could not be enough"
    assert bench.pages.make_room(3)
    assert bench.pages.num_evicted == 2
    assert bench.table(reader)[:2] == pages == bench.cached(1, 2, 3, 4)
    bench.check()


def test_a_page_that_was_evicted_is_not_found_again():
    """Would catch a stale entry: after its page holds other tokens, a prompt would find the wrong keys."""
    bench = Bench(num_blocks=3)
    bench.serve(1, 2, 3, 4)
    other = bench.admit(5, 6, 7, 8, 9)
    assert bench.cached(1, 2, 3, 4) == []
    bench.compute(other)
    bench.end(other)
    assert bench.admit(1, 2, 3).num_computed_tokens == 0


def test_admission_that_fails_changes_nothing(dump):
    """Would catch the lock of a request that found its prefix but no pages for the rest, and what the cache counts of a
    use that never was: its clock, hits, an edge that was split where the prefix ends.
    """
    bench = Bench(num_blocks=6)
    bench.serve(1, 2, 3, 4)
    running = bench.admit(*range(10, 15))

    def all_accounts():
        kv = bench.pages.kv
        pool = [list(kv.free_block_list), list(kv.ref_counts), list(kv.cache_refs), dict(kv.context_lens)]
        tables = {name: list(table) for name, table in kv.block_tables.items()}
        return [dump(bench.pages.cache), pool, tables, bench.pages.num_evicted, bench.pages.counts(bench.running)]

    before = all_accounts()
    refused = bench.request(1, 2, 3, 4, 5, 6, 7)  # 4 pages: 2 are cached, 1 is free, 0 can be evicted
    assert not bench.pages.admit(refused)
    ends_inside_an_edge = bench.request(1, 2, *range(30, 45))
    assert not bench.pages.admit(ends_inside_an_edge)
    refused_for_spare = bench.request(1, 2, 3)  # the pages are there, the spare ones are not
    assert not bench.pages.admit(refused_for_spare, num_spare=3)
    assert all_accounts() == before
    for request in (refused, ends_inside_an_edge, refused_for_spare):
        assert (request.num_computed_tokens, request.locked_node) == (0, None)
        request.check()
    assert bench.pages.admit(refused_for_spare, num_spare=1)
    bench.pages.give_back(refused_for_spare)
    bench.end(running)


def test_a_prompt_in_chunks_does_not_make_itself_popular():
    """Would catch a publication that counts as a hit: under lfu each chunk of a long prompt would keep it longer."""
    bench = Bench(eviction="lfu")
    long = bench.admit(*range(9))
    for num_tokens in (2, 4, 6, 8):
        bench.compute(long, num_tokens)
        bench.pages.publish(long)
    bench.end(long)
    bench.serve(20, 21)
    bench.end(bench.admit(20, 21, 22))  # asked for once; the long one never
    assert bench.pages.cache.evict(1).tolist()[0] != bench.cached(20, 21)[0]
    nodes = list(radix_tree.iter_nodes(bench.pages.cache.root))[1:]
    assert bench.cached(20, 21)
    assert {node.payload.hits for node in nodes if node.edge[0] != 20} == {0}


def test_a_publication_is_one_walk_of_the_tree(monkeypatch):
    """Would catch tokens that are compared twice or three times, to insert them, to find them, to lock them."""
    bench, walks = Bench(), []
    request, twin = bench.admit(*range(9)), bench.admit(*range(9))
    bench.compute(request), bench.compute(twin)
    match_prefix = radix_tree.match_prefix
    monkeypatch.setattr(radix_tree, "match_prefix", lambda *args: walks.append(args[1]) or match_prefix(*args))
    bench.pages.publish(request)
    bench.pages.publish(twin)
    assert len(walks) == 2
    assert all(isinstance(tokens, np.ndarray) and tokens.base is not None for tokens in walks)  # views, no copies


def test_a_prompt_is_published_at_once_and_an_answer_at_its_end():
    """Would catch a prompt that others find only when its answer has ended, and a walk of the tree for each token."""
    bench = Bench()
    request = bench.admit(1, 2, 3, 4, 5)
    bench.pages.advance(request, 3)
    assert (request.num_computed_tokens, len(bench.cached(1, 2, 3, 4))) == (3, 1)
    bench.pages.advance(request, 2)
    assert (request.num_computed_tokens, len(bench.cached(1, 2, 3, 4))) == (5, 2)
    for token in (6, 7):
        request.append(token)
        assert bench.pages.grow(request)
        bench.pages.advance(request, 1)
    assert (request.num_computed_tokens, len(bench.cached(1, 2, 3, 4, 5, 6))) == (7, 2)
    bench.end(request)
    assert len(bench.cached(1, 2, 3, 4, 5, 6, 7)) == 3


def test_what_a_failed_step_left_is_not_published():
    """Would catch keys and values of unknown content in the cache."""
    bench = Bench()
    request = bench.admit(1, 2, 3, 4, 5)
    bench.compute(request)
    bench.end(request, keep=False)
    assert bench.cached(1, 2, 3, 4) == []
    assert bench.pages.counts([]) == (16, 0, 0, 0, 16)


def test_without_prefix_cache_nothing_is_kept():
    """Would catch a switch that nothing reads."""
    bench = Bench(prefix_cache=False)
    bench.serve(1, 2, 3, 4)
    assert bench.pages.counts([]) == (16, 0, 0, 0, 16)


def test_grow_takes_a_page_only_when_the_last_is_full():
    """Would catch a page per token, and a table that is too short when a token comes."""
    bench = Bench(num_blocks=4)
    request = bench.admit(1, 2, 3)
    for length, num_pages in ((4, 2), (5, 3), (6, 3), (7, 4), (8, 4)):
        request.append(0)
        assert bench.pages.grow(request)
        assert len(bench.table(request)) == num_pages == -(-length // 2)
    request.append(0)
    assert not bench.pages.grow(request)
    assert len(bench.table(request)) == 4


def test_check_integrity_sees_what_it_is_for():
    """Would catch a check that cannot fail: each kind of damage must be named."""

    def damaged(harm) -> Bench:
        bench = Bench()
        bench.serve(1, 2, 3, 4)
        request = bench.admit(1, 2, 3, 4, 5, 6, 7)
        harm(bench, request)
        return bench

    def lose_page(bench, request):
        bench.pages.kv.free_block_list.pop()

    def wrong_page(bench, request):
        table = bench.table(request)
        table[0], table[1] = table[1], table[0]

    def forget_lock(bench, request):
        bench.pages.cache.unlock(request.locked_node)

    def other_tokens(bench, request):
        request.token_ids[0] = 9

    def lengths(bench, request):
        request.num_computed_tokens = 99

    def unknown(bench, request):
        bench.running.clear()

    for harm in (lose_page, wrong_page, forget_lock, other_tokens, lengths, unknown):
        bench = damaged(harm)
        with pytest.raises(AssertionError):
            bench.check()
