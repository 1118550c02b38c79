"""A request's tokens in one growing array, and what follows from its lengths."""

import numpy as np
import pytest

from yaie.engine.output import TextStream
from yaie.engine.request import Request, Status
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.radix_tree import Node


def request_of(prompt) -> Request:
    return Request("a", prompt, SamplingParams(), 0, 99, TextStream(None))


def test_tokens_grow_in_one_array():
    """Would catch tokens that are lost or doubled where the array grows, and views that are lists or copies."""
    request, expected = request_of([7, 8, 9]), [7, 8, 9]
    for token in range(40):
        request.append(token)
        expected.append(token)
        assert request.token_ids.tolist() == expected
        assert request.num_tokens == len(expected)
    assert request.prompt_token_ids.tolist() == [7, 8, 9]
    assert request.output_token_ids.tolist() == list(range(40))
    for view in (request.token_ids, request.prompt_token_ids, request.output_token_ids):
        assert view.dtype == np.int64
        assert np.shares_memory(view, request.token_ids)


def test_the_array_is_copied_a_few_times_only():
    """Would catch an array that is copied for every token: 10,000 tokens would cost 50 million copies."""
    request, arrays = request_of([1]), set()
    for token in range(10_000):
        request.append(token)
        arrays.add(id(request.token_ids.base))
    assert len(arrays) <= 15  # 2**14 > 10,001; ids may be used again, which makes them fewer


def test_the_callers_prompt_is_copied():
    """Would catch a request whose tokens change when the caller reuses its array."""
    prompt = np.array([1, 2, 3])
    request = request_of(prompt)
    prompt[:] = 9
    assert request.token_ids.tolist() == [1, 2, 3]


def test_the_status_follows_from_the_rest():
    """Would catch a status that says something else than the pages and the reason to end do."""
    request = request_of([1, 2])
    assert request.status is Status.WAITING
    request.hold(Node(np.empty(0, dtype=np.int64), None), 0, 1)
    assert request.status is Status.RUNNING
    request.check()
    request.hold(None, 0, 0)
    assert request.status is Status.WAITING
    request.finish("stop")
    assert request.status is Status.FINISHED
    request.check()


@pytest.mark.parametrize("held", [(None, 0, 1), (Node(np.empty(0), None), 2, 1), (Node(np.empty(0), None), 0, 3)])
def test_lengths_that_cannot_be_are_seen(held):
    """Would catch a check that cannot fail: pages of nobody, more published than computed, nothing left to compute."""
    request = request_of([1, 2, 3])
    request.hold(*held)
    with pytest.raises(AssertionError, match="published, computed, all"):
        request.check()
