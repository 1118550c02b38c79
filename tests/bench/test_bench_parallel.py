"""The benchmark of tensor parallel: what does not need a GPU."""

import pytest

from yaie.bench import parallel


def test_parts_of_a_step():
    """Would catch time that counts twice where kernels run side by side, and a pause that counts as work."""
    kernels = [("void a<int>(int*)", 0, 2), ("a<int>", 3, 4), ("ncclDevKernel_AllReduce(x)", 3.5, 5), ("b", 9, 10)]
    parts = parallel.parts_of(kernels, num_steps=2)
    assert (parts["step"], parts["busy"], parts["sums"]) == (5, 2.5, 0.75)
    first = parts["kernels"][0]
    assert first == {"kernel": "a<int>", "count": 1, "seconds": 1.5, "median": 2, "shortest": 1}


def test_it_times_steps_in_which_all_decode(capsys):
    """Would catch prompts, or requests that have ended, in the steps that are timed."""
    options = ["--shape", "tiny", "--ranks", "1", "--requests", "3", "--context", "40", "--steps", "2"]
    assert parallel.main(options) is None
    assert "1 ranks, torch, steps one after the other" in capsys.readouterr().out
    engine = parallel.make_engine("tiny", 1, parallel.torch.float32, "cpu")
    parallel.begin(engine, 2, 5, 4)
    with pytest.raises(RuntimeError, match="all requests that decode"):
        parallel.run_steps(engine, 4)
