from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import make, make_request, set_computed


def check() -> None:
    line, request, budgets = make(16, block_size=4), make_request(0, 15), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    set_computed(request, 5)
    with given(f"pages of 4; 5 tokens computed, 10 to go; [chunk_size(request, b) for b in {budgets}]"):
        got = [line.chunk_size(request, budget) for budget in budgets]
        expect(got, [0, 1, 2, 3, 3, 3, 3, 7, 7, 7, 10, 10], "list of results")  # each mistake has a list of its own
    cases = [(4, 0, 3, 8), (4, 0, 8, 8), (4, 0, 7, 7), (4, 0, 9, 8), (4, 0, 20, 6), (4, 4, 20, 6), (4, 2, 20, 5)]
    cases += [(4, 0, 20, 3), (4, 4, 20, 0), (4, 5, 20, 2), (16, 40, 100, 30), (16, 40, 100, 5), (1, 3, 9, 5)]
    cases += [(4, 6, 1, 1), (4, 6, 1, 5), (16, 17, 33, 15), (16, 15, 40, 1), (16, 15, 40, 17), (3, 7, 50, 31)]
    for size, num_computed, to_go, budget in cases:
        line = make(16, block_size=size)
        request = make_request(0, num_computed + to_go)
        set_computed(request, num_computed)
        text = f"pages of {size}; {num_computed} tokens computed, {to_go} to go; chunk_size(request, {budget})"
        with given(text):
            at_pages = [c for c in range(1, budget + 1) if (num_computed + c) % size == 0]
            expected = to_go if to_go <= budget else max(at_pages, default=budget)
            expect(line.chunk_size(request, budget), expected, "number of tokens")
