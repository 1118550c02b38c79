from __future__ import annotations

import itertools

import numpy as np

from yaie.course.expect import expect, given
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import paged
from yaie.models.loader import load_model

SMALL = (
    # pages, branches, min_saved
    (4, [1, 1], 4),
    (3, [1, 1], 4),
    (1, [1, 1, 1, 1, 1], 4),
    (2, [3, 1], 4),
    (1, [3, 2], 4),
    (4, [30, 20], 4),
    (0, [1, 9], 4),
    (5, [1], 1),
)
GREEDY = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)


def _readers(num_pages: int, branches: list[int], min_saved: int) -> list[int]:
    """By how many requests of each branch the pages are read without a reading for all."""
    return [1 if num_pages * size - num_pages >= min_saved else size for size in branches]


def check() -> None:
    sizes = [list(sizes) for n in (1, 2, 3) for sizes in itertools.combinations_with_replacement(range(1, 5), n)]
    every = itertools.product(range(5), sizes, (1, 3, 4, 6))
    for num_pages, branches, min_saved in (*SMALL, *every):
        readers = _readers(num_pages, branches, min_saved)
        saved = sum(readers) * num_pages - num_pages
        times = " + ".join(map(str, readers)) + (f" = {sum(readers)}" if len(readers) > 1 else "")
        note = f"Left to the branches, each page is read {times} times. Reading once for all saves {saved}."
        with given(f"{num_pages} pages, branches {branches}, min_saved={min_saved}"):
            array = np.array(branches)
            got = paged.reading_once_pays(num_pages, array, min_saved)
            expect(isinstance(got, bool | np.bool_), True, "whether the answer is a bool")
            expect(bool(got), saved >= min_saved, "answer", note=note)
            expect(array.tolist(), branches, "`branches` afterwards")
    _check_a_step()


def _check_a_step() -> None:
    """Three requests of which two share more: what a step of the engine reads together."""
    common, more = list(range(10, 42)), list(range(50, 114))
    prompts = [[*common, *more, 7], [*common, *more, 8], [*common, 9]]
    llm = LLM(load_model("tiny"), backend="torch", block_size=16, num_blocks=64)
    llm.generate(prompts, GREEDY)  # now the cache has their pages
    for min_saved, wanted in ((3, [(2, 2, 6), (3, 0, 2)]), (5, [(2, 0, 6)]), (7, [])):
        llm.runner.tables.least_saved, found = min_saved, []
        call = llm.runner.ranks.call
        llm.runner.ranks.call = lambda name, batch, rows, call=call, found=found: (
            found.append(batch.shared) or call(name, batch, rows)
        )
        with given(
            f"a step of the engine, min_saved={min_saved}: 3 requests with 2 pages in common, of which 2 share 4 more"
        ):
            llm.generate(prompts, GREEDY)
            groups = sorted((len(members), int(begin), int(end)) for members, begin, end in found[-1])
            expect(groups, wanted, "(requests, first page, end) of each reading for several")
        llm.runner.ranks.call = call
