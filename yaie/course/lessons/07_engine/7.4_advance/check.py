from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import expect_locked, make_pages, make_request

# page size; tokens of the prompt; the steps: tokens that each computes, and those that are published afterwards.
# After the prompt each step is a decode.
CASES = (
    (4, 8, [(8, 8)]),
    (4, 10, [(6, 4), (4, 8), (1, 8), (1, 8), (1, 8)]),
    (4, 9, [(8, 8), (1, 8), (1, 8)]),
    (2, 5, [(1, 0), (1, 2), (1, 2), (1, 4), (1, 4), (1, 4), (1, 4)]),
    (1, 3, [(2, 2), (1, 3), (1, 3), (1, 3)]),
    (4, 3, [(3, 0), (1, 0), (1, 0)]),
)


def check() -> None:
    for size, num_prompt, steps in CASES:
        _check_steps(size, num_prompt, 0, steps)
    # Preempted: 6 tokens of prompt and 5 generated ones, of which the newest was never computed.
    _check_steps(2, 6, 5, [(4, 4), (3, 6), (4, 10), (1, 10)])
    _check_steps(2, 6, 5, [(10, 10), (1, 10), (1, 10)])
    _check_steps(4, 6, 5, [(8, 8), (2, 8), (1, 8)])


def _check_steps(size: int, num_prompt: int, num_generated: int, steps: list[tuple[int, int]]) -> None:
    pages = make_pages(24, size)
    request = make_request(list(range(1, num_prompt + 1)))
    for number in range(num_generated):
        request.append(700 + number)
    pages.admit(request)
    what = f"a prompt of {num_prompt} tokens" + (f" and {num_generated} generated ones" if num_generated else "")
    done = []
    for num_tokens, published in steps:
        if request.num_uncomputed_tokens == 0:
            request.append(800 + len(done))
            pages.grow(request)
        computed = request.num_computed_tokens + num_tokens
        kind = "a decode" if request.is_decode else "a chunk"
        done.append(f"advance(request, {num_tokens}), {kind}")
        with given(f"{what}, pages of {size}; {'; '.join(done)}"):
            pages.advance(request, num_tokens)
            lengths = {"computed": request.num_computed_tokens, "published": request.num_published_tokens}
            expect(lengths, {"computed": computed, "published": published}, "two lengths that the request holds")
            found = pages.cache.find(request.token_ids).length
            expect(found, published, "tokens that another request with the same beginning finds now")
            expect_locked(request, request.token_ids[:published].tolist())
