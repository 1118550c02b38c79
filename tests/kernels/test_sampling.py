"""Sampling: exact distributions first, then draws against them by chi-square, then independence of the batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yaie.kernels import sampling
from yaie.kernels.sampling import SamplingKernel

KERNEL = SamplingKernel()
HALF = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def generators(num_seqs, seed=0):
    return [torch.Generator().manual_seed(seed + row) for row in range(num_seqs)]


def oracle(logits, temperature=1.0, top_p=1.0, top_k=-1, min_p=0.0):
    """One row in plain Python and float64, by sorting: the rule of the module, written down a second time."""
    logits = [float(x) for x in logits]
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if temperature == 0:
        return [float(i == order[0]) for i in range(len(logits))]
    weights = [math.exp((x - logits[order[0]]) / temperature) for x in logits]
    kept = order[: len(order) if top_k == -1 else top_k]
    if top_p < 1:
        total, mass, nucleus = sum(weights[i] for i in kept), 0.0, []
        for i in kept:
            if mass >= top_p:
                break
            nucleus.append(i)
            mass += weights[i] / total
        kept = nucleus
    kept = [i for i in kept if weights[i] >= min_p * weights[order[0]]]
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(logits))]


def close(actual, expected, tolerance=1e-5):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=1e-7)


# --- the distribution ---------------------------------------------------------------------------------------


@given(
    # Steps of 1/64: a temperature makes equal what differs by less than float32 can hold.
    logits=st.lists(st.integers(-512, 512).map(lambda i: i / 64), min_size=1, max_size=12),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_p=st.floats(0.01, 1.0),
    top_k=st.sampled_from([-1, 1, 2, 5, 100]),
    min_p=st.sampled_from([0.0, 0.05, 0.4]),
)
@settings(max_examples=200, deadline=None)
def test_the_distribution_is_the_rule(logits, temperature, top_p, top_k, min_p):
    """Catches filters in another order, without renormalising between, or with another crossing token."""
    logits = torch.tensor(logits)
    expected = oracle(logits, temperature, top_p, top_k, min_p)
    nearby = [oracle(logits, temperature, top_p + d, top_k, min_p * (1 + d)) for d in (-1e-5, 1e-5)]
    if any(np.count_nonzero(other) != np.count_nonzero(expected) for other in nearby):
        return  # a threshold so close that float32 may fall on either side
    close(KERNEL.probabilities(logits, temperature, top_p, top_k, min_p=min_p), expected, 1e-4)


@pytest.mark.parametrize(("top_p", "kept"), [(0.7, 2), (0.49, 1), (0.51, 2), (0.94, 3), (0.96, 4), (1e-6, 1), (1.0, 4)])
def test_top_p_keeps_the_token_that_crosses(top_p, kept):
    """Catches the nucleus that stops short: 0.7 of [.5, .3, .15, .05] is {0, 1} and not {0}."""
    probs = KERNEL.probabilities(HALF, top_p=top_p)[0]
    assert probs.nonzero().flatten().tolist() == list(range(kept))
    close(probs[:kept], HALF.exp()[0, :kept] / HALF.exp()[0, :kept].sum())


def test_ties_go_to_the_lower_id():
    """Catches ties left to the sorting routine: results would differ by device and by batch."""
    even = torch.zeros(3, 300)
    even[2, 7] = 1
    greedy = KERNEL.probabilities(even, temperature=0)
    assert greedy.argmax(-1).tolist() == [0, 0, 7]
    assert greedy.sum().item() == 3
    assert KERNEL.probabilities(even, top_k=1).argmax(-1).tolist() == [0, 0, 7]
    top_k = KERNEL.probabilities(even, top_k=100)
    assert [row.nonzero().flatten().tolist() for row in top_k] == [list(range(100))] * 3
    top_p = KERNEL.probabilities(even[:2], top_p=0.4999)
    assert [row.nonzero().flatten().tolist() for row in top_p] == [list(range(150))] * 2
    min_p = KERNEL.probabilities(even[:1], min_p=1.0)
    assert min_p.count_nonzero() == 300, "min-p has no boundary to break: equals of the largest all stay"


def test_top_p_over_a_large_vocabulary():
    """Catches a nucleus cut off at the tokens that were sorted first; without a full sort it must still be
    exact.
    """
    logits = torch.stack([rand(5000) * scale for scale in (0.01, 1, 5)])
    probs = KERNEL.probabilities(logits, top_p=[0.9, 0.5, 0.99])
    for row, top_p in enumerate([0.9, 0.5, 0.99]):
        close(probs[row], oracle(logits[row], top_p=top_p), 1e-4)


def test_only_as_much_is_sorted_as_is_needed(monkeypatch):
    """Catches a full sort of the vocabulary for a nucleus of a few tokens."""
    asked = []

    def topk(self, k, **kwargs):
        asked.append(k)
        return plain(self, k, **kwargs)

    plain = torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", topk)
    monkeypatch.setattr(torch.Tensor, "sort", None)
    peaked = rand(3, 5000) * 8
    KERNEL.probabilities(peaked, top_p=[0.9, 1.0, 0.5], top_k=[-1, 20, -1])
    assert max(asked) <= 64


def test_tiny_and_huge_temperatures():
    """Catches logits / temperature that overflows to inf and then to NaN."""
    logits = torch.tensor([[1000.0, 999.0, -1000.0]])
    close(KERNEL.probabilities(logits, temperature=1e-30), [[1, 0, 0]])
    close(KERNEL.probabilities(logits, temperature=1e30), [[1 / 3] * 3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_logits_are_computed_in_float32(dtype):
    """Catches a softmax in the dtype of the logits, and the dtype error of float16 with top-p."""
    logits = rand(2, 500).to(dtype)
    probs = KERNEL.probabilities(logits, 0.7, 0.9, 200)
    assert probs.dtype == torch.float32
    for row in range(2):
        close(probs[row], oracle(logits[row], 0.7, 0.9, 200), 1e-4)
    assert KERNEL.sample(logits, 0.7, 0.9, 200).shape == (2,)


def test_masked_tokens_are_never_chosen():
    """Catches a filter that revives a token whose logit is -inf."""
    logits = torch.tensor([[-math.inf, 1.0, -math.inf, 0.0]])
    for arguments in ({}, {"top_k": 3}, {"top_p": 0.9999}, {"min_p": 0.0}, {"temperature": 5.0}):
        assert KERNEL.probabilities(logits, **arguments)[0, [0, 2]].eq(0).all()


def test_penalties():
    """Catches a positive penalty that makes a negative logit likelier, and presence counted for the prompt."""
    logits = torch.tensor([[2.0, -2.0, 1.0, 0.5], [2.0, -2.0, 1.0, 0.5]])
    prompt, output = [[0, 1], []], [[3, 3], [2]]
    expected = torch.tensor([[1.0, -4.0, 1.0, 0.25], [2.0, -2.0, 0.5, 0.5]])
    seen = {"prompt_tokens": prompt, "output_tokens": output}
    close(KERNEL.probabilities(logits, repetition_penalty=2.0, **seen), expected.softmax(-1))
    expected = torch.tensor([[2.0, -2.0, 1.0, 0.0], [2.0, -2.0, 2.0, 0.5]])
    probs = KERNEL.probabilities(logits, presence_penalty=[0.5, -1.0], **seen)
    close(probs, expected.softmax(-1))
    assert torch.equal(KERNEL.probabilities(logits, **seen), KERNEL.probabilities(logits))


# --- draws --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 5},
        {"top_p": 0.8},
        {"min_p": 0.2},
        {"temperature": 1.5, "top_k": 9, "top_p": 0.9, "min_p": 0.02},
        {"repetition_penalty": 1.5, "presence_penalty": 0.5},
    ],
)
def test_draws_follow_the_distribution(arguments):
    """Catches a draw that is off by one token, favours the ends, or ignores the filters (chi-square, p >
    0.001).
    """
    from scipy.stats import chisquare  # here: it takes seconds, and each process that collects tests would take them

    num_draws, logits = 20_000, rand(1, 20, seed=3)
    if "presence_penalty" in arguments:
        arguments = {**arguments, "prompt_tokens": [[1, 2]], "output_tokens": [[2, 5]]}
    probs = KERNEL.probabilities(logits, **arguments)[0].double()
    seen = {k: v * num_draws for k, v in arguments.items() if k.endswith("tokens")}
    single = torch.Generator().manual_seed(5)
    tokens = KERNEL.sample(logits.expand(num_draws, -1), generator=single, **{**arguments, **seen})
    counts = tokens.bincount(minlength=20).double()
    assert not counts[probs == 0].any()
    possible = probs > 0
    expected = probs[possible] / probs[possible].sum() * num_draws
    assert chisquare(counts[possible].numpy(), expected.numpy()).pvalue > 0.001


def test_draws_from_a_generator_per_request_follow_the_distribution():
    """Catches consecutive draws of one request that hang together, and seeds that all give the same first
    token.
    """
    from scipy.stats import chisquare

    logits = HALF.expand(200, -1)
    per_row, counts, firsts = generators(200), torch.zeros(4), None
    for _ in range(50):
        tokens = KERNEL.sample(logits, generator=per_row)
        firsts = tokens if firsts is None else firsts
        counts += tokens.bincount(minlength=4)
    assert chisquare(counts.double().numpy(), np.array([0.5, 0.3, 0.15, 0.05]) * 10_000).pvalue > 0.001
    assert chisquare(firsts.bincount(minlength=4).numpy(), np.array([0.5, 0.3, 0.15, 0.05]) * 200).pvalue > 0.001


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8).filter(any), st.floats(0, 1, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_a_draw_never_takes_a_token_without_probability(weights, uniform):
    """Catches `<` where `<=` belongs at the borders of the cumulative sum, and an index beyond the
    vocabulary.
    """
    probs = torch.tensor([weights], dtype=torch.float32)
    for u in (0.0, uniform, math.nextafter(1, 0)):
        token = sampling.draw_tokens(probs, torch.tensor([u], dtype=torch.float64)).item()
        assert weights[token] > 0
        assert sum(weights[:token]) <= u * sum(weights) * (1 + 1e-15) <= sum(weights[: token + 1]) * (1 + 1e-15)


def test_a_draw_from_a_large_vocabulary_finds_its_place():
    """Catches a cumulative sum in float32: its rounding errors add up over 200,000 tokens."""
    num_tokens = 200_000
    for u in (0.1, 0.5, 0.9999):
        token = sampling.draw_tokens(torch.full((1, num_tokens), 1 / num_tokens), torch.tensor([u]).double())
        assert abs(token.item() - u * num_tokens) <= 1


def test_a_rows_token_does_not_depend_on_its_batch():
    """Catches anything shared across rows: a request's text would change with who is served beside it.

    To the last bit: the distributions are compared with `equal`, alone and in a batch with other parameters.
    """
    num_seqs, vocab_size = 7, 50_000
    logits = rand(num_seqs, vocab_size) * 3
    rows = {
        "temperature": [0.0, 1.0, 0.7, 1.3, 1.0, 1.0, 0.2],
        "top_p": [1.0, 0.9, 1.0, 0.95, 1.0, 1.0, 0.3],
        "top_k": [-1, -1, 40, 7, 1, -1, 50_001],
        "min_p": [0.0, 0.0, 0.1, 0.0, 0.0, 0.05, 0.0],
        "repetition_penalty": [1.0, 1.2, 1.0, 1.0, 1.0, 1.0, 0.8],
        "presence_penalty": [0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0],
    }
    seen = {"prompt_tokens": [[1, 2, 3]] * num_seqs, "output_tokens": [[row] for row in range(num_seqs)]}
    together = KERNEL.probabilities(logits, **rows, **seen)
    tokens = KERNEL.sample(logits, generator=generators(num_seqs), **rows, **seen)
    for row in range(num_seqs):
        own = {name: values[row] for name, values in rows.items()}
        own |= {name: values[row : row + 1] for name, values in seen.items()}
        assert torch.equal(KERNEL.probabilities(logits[row : row + 1], **own)[0], together[row])
        (generator,) = generators(1, seed=row)
        assert KERNEL.sample(logits[row], generator=[generator], **own) == tokens[row]
    order = [3, 6, 0, 1]
    shuffled = KERNEL.sample(
        logits[order],
        generator=[generators(1, seed=row)[0] for row in order],
        **{name: [values[row] for row in order] for name, values in (rows | seen).items()},
    )
    assert torch.equal(shuffled, tokens[order])


def test_seeds_repeat_and_other_seeds_differ():
    """Catches a generator that is ignored."""
    logits = rand(50, 100)
    first = KERNEL.sample(logits, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, KERNEL.sample(logits, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(first, KERNEL.sample(logits, generator=torch.Generator().manual_seed(2)))
    torch.manual_seed(1)
    unseeded = KERNEL.sample(logits)
    torch.manual_seed(1)
    assert torch.equal(unseeded, KERNEL.sample(logits))


def test_shapes_and_kinds_of_parameters():
    """Catches 1-D logits that crash, and per-row parameters that must be scalars."""
    logits = rand(3, 10)
    single = KERNEL.sample(logits[0], temperature=0)
    assert single.shape == ()
    assert single.dtype == torch.int64
    assert single == logits[0].argmax()
    assert KERNEL.probabilities(logits[0]).shape == (10,)
    expected = KERNEL.probabilities(logits, temperature=[0.5, 1.0, 2.0], top_k=[1, 2, 3])
    for kind in (torch.tensor, np.array, tuple):
        assert torch.equal(
            KERNEL.probabilities(logits, temperature=kind([0.5, 1.0, 2.0]), top_k=kind([1, 2, 3])), expected
        )
    assert KERNEL.sample(rand(0, 10)).shape == (0,)
    assert KERNEL.sample(logits, temperature=torch.tensor(0.0)).tolist() == logits.argmax(-1).tolist()
    before = logits.clone()
    KERNEL.sample(logits, 0.5, 0.5, 3, min_p=0.1, presence_penalty=1.0, output_tokens=[[1], [2], [3]])
    assert torch.equal(logits, before), "the caller's logits must not be written to"


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.1, math.nan, math.inf, "1", None, True]),
        ("top_p", [0, -0.5, 1.01, math.nan]),
        ("top_k", [0, -2, 2.5, math.nan]),
        ("min_p", [-0.1, 1.1]),
        ("repetition_penalty", [0, -1, math.inf]),
        ("presence_penalty", [math.nan, math.inf]),
    ],
)
def test_bad_parameters_name_the_row(name, values):
    """Catches a negative temperature that turns the distribution round, and top_p=0 that turns the filter
    off.
    """
    good = 1 if name != "min_p" else 0.5
    for value in values:
        with pytest.raises(ValueError, match=f"row 0: {name} must be"):
            KERNEL.sample(rand(2, 5), **{name: value})
        with pytest.raises(ValueError, match=f"row 1: {name} must be"):
            KERNEL.sample(rand(2, 5), **{name: [good, value]})
    with pytest.raises(ValueError, match=f"{name} has 3 values for 2 rows"):
        KERNEL.sample(rand(2, 5), **{name: [good] * 3})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ((1, 3, math.nan), "row 1: the logit of token 3 is nan"),
        ((0, 2, math.inf), "row 0: the logit of token 2 is inf"),
        ((1, slice(None), -math.inf), "row 1: every logit is -inf"),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_bad_logits_name_the_row(change, match, temperature):
    """Catches NaN that an argmax turns into a token, and an opaque error from the draw."""
    logits = rand(3, 5)
    logits[change[0], change[1]] = change[2]
    with pytest.raises(ValueError, match=match):
        KERNEL.sample(logits, temperature=temperature)


def test_other_bad_input():
    """Catches a wrong shape or a missing generator that is found only after some rows have drawn."""
    logits, generator = rand(2, 5), torch.Generator().manual_seed(0)
    state = generator.get_state()
    for match, call in [
        ("logits must be floating", lambda: KERNEL.sample(rand(2, 3, 5))),
        ("logits must be floating", lambda: KERNEL.sample(rand(2, 0))),
        ("logits must be floating", lambda: KERNEL.sample(torch.ones(2, 5, dtype=torch.int64))),
        ("1 entries for 2 rows", lambda: KERNEL.sample(logits, generator=[generator])),
        ("row 1: generator", lambda: KERNEL.sample(logits, generator=[generator, 7])),
        ("row 1: output_tokens", lambda: KERNEL.sample(logits, presence_penalty=1.0, output_tokens=[[1], [5]])),
        ("1 sequences for 2", lambda: KERNEL.sample(logits, presence_penalty=1.0, output_tokens=[[1]])),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
    assert torch.equal(generator.get_state(), state)
