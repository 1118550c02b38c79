"""The race of engines: the loads are the same for both, and a ratio says who is faster."""

import pytest
import torch

from yaie.bench import peers


def noted(answers=lambda lengths: [[1] * length for length in lengths]):
    """An engine that costs nothing and notes what it was asked for."""
    calls = []

    def generate(prompts, lengths, temperature):
        calls.append((prompts, lengths, temperature))
        return answers(lengths)

    return generate, calls


@pytest.mark.parametrize("load", peers.LOADS)
def test_loads_are_the_same_for_every_engine(load):
    """Would catch a run that finds the prompts of the one before it in a cache, or engines that are asked for different
    things."""
    (first, asked), (second, again) = noted(), noted()
    run, _, _ = peers.LOADS[load]
    run(first, 0, 0.6)
    run(second, 0, 0.6)
    assert asked == again
    run(second, 1, 0.6)
    before, after = asked[-1][0], again[-1][0]
    assert [len(prompt) for prompt in before] == [len(prompt) for prompt in after]
    assert all(one[:16] != other[:16] for one, other in zip(before, after, strict=True))


def test_fewer_tokens_are_no_victory():
    """Would catch an engine that is fast because its requests end early."""
    generate, _ = noted(lambda lengths: [[1] * (length - 1) for length in lengths])
    with pytest.raises(RuntimeError, match="fewer or more tokens"):
        peers.prefix(generate, 0, 0.6)


def test_the_ratio_is_one_of_speed(capsys):
    """Would catch a table in which twice the seconds are twice the speed."""

    def rows(**loads):
        return [{"load": load, "temperature": 0.6, "value": value} for load, value in loads.items()]

    peers.print_race({"yaie": rows(batch=300.0, prefix=2.0), "nano-vllm": rows(batch=200.0, prefix=1.0)})
    lines = [line for line in capsys.readouterr().out.splitlines() if "temperature" in line]
    assert [line.split()[-1] for line in lines] == ["1.50x", "0.50x"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys):
    assert peers.main([]) == 1
    assert "needs a GPU" in capsys.readouterr().err
