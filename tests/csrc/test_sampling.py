"""The sampling kernels, every rung, against a sort in float64: on a GPU, or else in the emulator's check mode.

The kept set is compared exactly. That is fair because top_p is put in the middle between two running sums of the
sorted probabilities, so that the rounding of a weight (2^-24 of it, and 2^-40 of the largest) cannot decide.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yaie.kernels import api, ops
from yaie.kernels import sampling as twin

BACKEND = "cuda" if torch.cuda.is_available() else "emulator"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
CHECK = BACKEND == "emulator"
RUNGS = (1, 2, 3)


def sorted_weights(rows, temperature):
    """Ids of each row from the likeliest on (lower ids first among equals), and their weights in float64."""
    rows = rows.float().cpu()
    distance = (rows.amax(dim=-1, keepdim=True) - rows) / torch.tensor(temperature)[:, None]
    distance, ids = distance.sort(dim=-1, stable=True)
    return ids, (-distance.double()).exp()


def between_two_sums(weights, top_k, part):
    """A top_p that lies well between two running sums of the tokens that top-k keeps; 1 if they are too close."""
    weights = weights[:top_k] if top_k > 0 else weights
    sums = weights.cumsum(0) / weights.sum()
    place = int(part * len(sums))
    low, high = (sums[place - 1].item() if place else 0.0), sums[place].item()
    return (low + high) / 2 if high - low > 1e-5 else 1.0


def by_sorting(rows, setup):
    """The set that is kept, bool `[num_seqs, vocab_size]`, by a sort in float64; tokens at -inf are left out of it."""
    ids, weights = sorted_weights(rows, setup.temperature)
    kept = torch.zeros(rows.shape, dtype=torch.bool)
    for row, (top_k, top_p, min_p) in enumerate(zip(setup.top_k, setup.top_p, setup.min_p, strict=True)):
        stays = torch.ones(rows.shape[1], dtype=torch.bool)
        if top_k > 0:
            stays[top_k:] = False
        if top_p < 1:
            w = weights[row] * stays
            stays &= w.cumsum(0) - w < top_p * w.sum()
        stays &= weights[row] >= min_p
        kept[row, ids[row][stays]] = True
    return kept & (rows > -math.inf).cpu()


def inputs(vocab_size, dtype=torch.float32):
    """Rows of every kind, and settings for them: plain, few values (many ties), -inf, huge, all equal, tiny."""
    plain = torch.randn(7, vocab_size) * 2
    ties = torch.randint(-3, 3, (3, vocab_size)).float()
    holes = torch.randn(2, vocab_size).masked_fill(torch.rand(2, vocab_size) < 0.7, -math.inf)
    holes[:, -1] = 0.5
    rows = torch.cat(
        (plain, ties, holes, (plain[:1] * 1e4).clamp(-6e4, 6e4), torch.full((1, vocab_size), 7.0), plain[:1] * 1e-4)
    ).to(dtype)
    n = len(rows)
    temperature = [1.0, 0.7, 1.0, 0.05, 3.0, 0.0, 1.0, 1.0, 0.5, 1.3, 1.0, 0.8, 1.0, 2.0, 1.0]
    top_k = [-1, -1, 5, 7, max(1, vocab_size // 2), 3, -1, -1, 4, vocab_size, -1, 9, -1, 2, vocab_size + 50]
    part = [0.1, 0.5, None, 0.3, 0.6, 0.5, 0.9, 0.2, 0.5, 0.4, 0.5, None, 0.01, None, 0.7]
    min_p = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1]
    _, weights = sorted_weights(rows, temperature)
    top_p = [
        1.0 if p is None or t == 0 else between_two_sums(w, k, p)
        for w, k, p, t in zip(weights, top_k, part, temperature, strict=True)
    ]
    assert len(temperature) == len(top_k) == len(part) == len(min_p) == n
    return rows.to(DEVICE), twin.Settings(temperature, top_p, top_k, min_p)


def launch(rung, rows, setup, uniforms=None, seeds=None, steps=None, *, check=CHECK):
    """Tokens of one launch, and the limit of each row."""
    uniforms = torch.rand(len(rows), dtype=torch.float64) if uniforms is None and seeds is None else uniforms
    limits = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    operations = ops.KernelOperations(BACKEND, rungs={"sample": rung}, check=check)
    return operations.sample(rows, setup, uniforms, seeds, steps, limits), limits


def kept_by(limits, rows, settings):
    """Which tokens lie up to the limit of their row, bool like `rows`: the order of row.cuh in torch."""
    rows = rows.float()
    temperature = torch.tensor(settings.temperature, device=rows.device)[:, None]
    distance = (rows.amax(dim=-1, keepdim=True) + 0.0 - rows) / temperature  # + 0.0 makes 0 of -0
    id_bits = max(1, (rows.shape[-1] - 1).bit_length())
    ids = torch.arange(rows.shape[-1], device=rows.device)
    order = distance.view(torch.int32).long() << id_bits | ids
    return order <= limits[:, None]


def check_rung(rung, rows, setup):
    """The kept set is that of a sort, and the token is one of it, at its place in the running sum."""
    uniforms = torch.rand(len(rows), dtype=torch.float64)
    tokens, limits = launch(rung, rows, setup, uniforms)
    wanted = by_sorting(rows, setup)
    kept = kept_by(limits, rows, setup).cpu() & (rows > -math.inf).cpu()
    for row, temperature in enumerate(setup.temperature):
        if temperature == 0:
            assert tokens[row] == rows[row].argmax()
            continue
        assert torch.equal(kept[row], wanted[row]), (row, kept[row].sum().item(), wanted[row].sum().item())
        weights = ((rows[row].double() - rows[row].double().max()) / temperature).exp().cpu() * wanted[row]
        sums = torch.cat((torch.zeros(1, dtype=torch.float64), weights.cumsum(0) / weights.sum()))
        token = tokens[row].item()
        assert wanted[row, token]
        assert sums[token] - 2e-6 <= uniforms[row] <= sums[token + 1] + 2e-6
    return tokens, limits


def check_alike(rows, setup):
    """Rung 3 gives for logits of 16 bits what it gives for the same ones in float32."""
    uniforms = torch.rand(len(rows), dtype=torch.float64)
    (tokens, limits), (wanted, others) = (launch(3, each, setup, uniforms) for each in (rows, rows.float()))
    assert torch.equal(tokens, wanted)
    drawn = torch.tensor([t > 0 for t in setup.temperature], device=DEVICE)
    kept = [kept_by(each, rows, setup)[drawn] for each in (limits, others)]
    assert torch.equal(*kept)


@pytest.mark.parametrize("vocab_size", [1, 15, 16, 17, 33, 300])
@pytest.mark.parametrize("rung", RUNGS)
def test_the_kept_set_is_that_of_a_sort(rung, vocab_size):
    """S1: the token that crosses top_p is kept. Ties by the lower id, rows of -inf, logits of 10,000, temperature 0."""
    check_rung(rung, *inputs(vocab_size))


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_half_logits(dtype):
    """S6: half logits with top-p, which are converted: by rung 3 as it reads them, from rows on 16 bytes and others."""
    for rung in RUNGS:
        check_rung(rung, *inputs(40, dtype))
    for size in (33, 513, 4096):
        check_alike(*inputs(size, dtype))


def test_all_rungs_draw_the_same():
    """Sums of integers have no rounding, so set and token are the same to the last one, whatever the rung."""
    rows, setup = inputs(513)
    uniforms = torch.rand(len(rows), dtype=torch.float64)
    results = [launch(rung, rows, setup, uniforms) for rung in RUNGS]
    for tokens, limits in results[1:]:
        assert torch.equal(tokens, results[0][0])
        kept = [kept_by(each, rows, setup) for each in (limits, results[0][1])]
        drawn = torch.tensor([t > 0 for t in setup.temperature], device=DEVICE)
        assert torch.equal(kept[0][drawn], kept[1][drawn])


def test_each_way_to_the_limit():
    """Rung 3 goes by how logits are spread, and by how many are equal; catches a way that keeps another set.

    Rows of 9,000: peaked, less so (what is listed of it is not enough), flat, peaked and in the order of ids; then as
    many equal logits as the list or the candidates cannot hold.
    """
    size = 9000
    peaked, middle, flat = torch.randn(3, size) * torch.tensor([[4.0], [2.0], [0.5]])
    equal = torch.full((size,), 1.0)
    half = equal.clone()
    half[::2] = torch.randn(size // 2) * 1e-3
    some = torch.cat((torch.full((700,), 5.0), torch.randn(size - 700)))
    wishes = [  # row, top_k, and the part of the tokens that top-p keeps
        (peaked, -1, 0.02),
        (peaked, 50, 0.5),
        (peaked, 1500, None),
        (peaked, 1500, 0.1),
        (middle, -1, 0.3),
        (flat, -1, 0.8),
        (flat, -1, 0.01),
        (flat, 7000, None),
        (flat, 7000, 0.5),
        (peaked.sort().values, -1, 0.02),
        (peaked.sort().values, 50, None),
        (equal, -1, 0.5),
        (equal, 5, None),
        (half, 8250, 0.7),
        (some, -1, 0.03),
        (some, 650, None),
    ]
    rows, top_k, n = torch.stack([row for row, _, _ in wishes]), [k for _, k, _ in wishes], len(wishes)
    _, weights = sorted_weights(rows, [1.0] * n)
    top_p = [between_two_sums(w, k, part) if part else 1.0 for w, (_, k, part) in zip(weights, wishes, strict=True)]
    assert all(p < 1 for p, (_, _, part) in zip(top_p, wishes, strict=True) if part)
    setup = twin.Settings([1.0] * n, top_p, top_k, [0.0] * n)
    check_rung(3, rows.to(DEVICE), setup)
    check_alike(rows.bfloat16().to(DEVICE), setup)


@pytest.mark.parametrize("rung", RUNGS)
def test_uniforms_at_the_edges_and_zero_probability(rung):
    """Catches a draw beyond the last token for a number just below 1, and a first token of probability 0 for 0."""
    rows = torch.tensor([[-math.inf, 1.0, 1.0, -math.inf, 1.0, -math.inf]]).expand(3, 6).contiguous().to(DEVICE)
    setup = twin.Settings([1.0] * 3, [1.0] * 3, [-1] * 3, [0.0] * 3)
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert launch(rung, rows, setup, uniforms)[0].tolist() == [1, 2, 4]


@pytest.mark.parametrize("rung", RUNGS)
def test_minus_zero_is_zero(rung):
    """Catches -0 sorted below 0: the first of the two is the most likely token, whatever its sign."""
    rows = torch.tensor([[-0.0, 0.0, -0.0, 0.0]] * 2 + [[-1.0, -0.0, 0.0, -0.0]]).to(DEVICE)
    setup = twin.Settings([0.0, 1.0, 1.0], [1.0, 0.6, 1.0], [-1, -1, 2], [0.0] * 3)
    tokens, limits = launch(rung, rows, setup)
    assert tokens[0] == 0
    assert kept_by(limits, rows, setup)[1:].tolist() == [[True, True, True, False], [False, True, True, False]]


def test_rows_of_no_use_are_named():
    """S9: NaN, +inf and a row of nothing but -inf; also where NaN stands behind the largest logit."""
    good = torch.randn(20, device=DEVICE)
    for value, message in ((math.nan, "nan"), (math.inf, "inf")):
        rows = torch.stack((good, good.clone(), good))
        rows[1, 13] = value
        for rung in RUNGS:
            tokens, _ = launch(rung, rows, twin.Settings([1.0] * 3, [0.9] * 3, [-1] * 3, [0.0] * 3))
            assert (tokens < 0).tolist() == [False, True, False]
        with pytest.raises(ValueError, match=f"row 1: the logit of token 13 is {message}"):
            api.sample(rows, backend=BACKEND)
    rows[1] = -math.inf
    with pytest.raises(ValueError, match="row 1: every logit is -inf"):
        api.sample(rows, temperature=0.0, backend=BACKEND)


def test_known_numbers_of_the_counter_generator():
    """The first words of Philox 4x32-10 for counter and key 0, from its authors' table."""
    assert twin.counter_uniforms([0], [0]).item() == ((0xE169C58D << 32 | 0x6627E8D5) >> 11) / 2**53


@pytest.mark.parametrize("rung", RUNGS)
def test_a_seed_draws_the_same_in_any_batch(rung):
    """Catches a generator that is shared by the rows, or that starts with the place in the batch."""
    rows = torch.randn(1, 50, device=DEVICE).expand(6, 50).contiguous()
    seeds, steps = [3, 3, 4, 2**63 - 1, 3, 2**40], [0, 1, 0, 5, 0, 2**35]
    setup = twin.Settings([1.0] * 6, [1.0] * 6, [-1] * 6, [0.0] * 6)
    tokens, _ = launch(rung, rows, setup, None, seeds, steps)
    wanted = twin.draw_tokens(rows.softmax(-1), twin.counter_uniforms(seeds, steps))
    assert torch.equal(tokens, wanted)
    one = twin.Settings([1.0], [1.0], [-1], [0.0])
    for row in (1, 4):
        args = rows[row : row + 1], one, None, seeds[row : row + 1], steps[row : row + 1]
        assert launch(rung, *args)[0].item() == tokens[row]


@pytest.mark.parametrize("rung", RUNGS)
def test_the_distribution(rung):
    """Chi-square against exact probabilities; fails by chance once in a million runs."""
    logits, draws = torch.tensor([0.0, 1.0, -1.0, 2.0, 2.0, 0.5, -4.0, 1.5]), 1200
    setup = twin.Settings([0.9] * draws, [0.95] * draws, [7] * draws, [0.0] * draws)
    rows = logits.expand(draws, 8).contiguous().to(DEVICE)
    base = int(torch.randint(2**40, ()))
    tokens, _ = launch(rung, rows, setup, None, [base] * draws, list(range(draws)), check=False)
    expected = twin.SamplingKernel().probabilities(logits, 0.9, 0.95, 7).double() * draws
    counts = torch.bincount(tokens.cpu(), minlength=8)
    assert not counts[expected == 0].any()
    likely = expected > 0
    statistic = ((counts - expected)[likely] ** 2 / expected[likely]).sum().item()
    freedom = int(likely.sum()) - 1
    # The quantile of 1 - 1e-6 by Wilson and Hilferty; 4.753 is that of the normal distribution.
    assert statistic < freedom * (1 - 2 / (9 * freedom) + 4.753 * math.sqrt(2 / (9 * freedom))) ** 3


def test_through_the_api():
    """Parameters per row, generators and penalties: the same tokens as torch, which computes the penalties for both."""
    logits = torch.randn(5, 70, device=DEVICE) * 3
    options = {
        "temperature": [1.0, 0.5, 0.0, 2.0, 1.0],
        "top_p": [0.9, 1.0, 0.5, 0.7, 1.0],
        "top_k": [-1, 10, 3, 40, -1],
        "min_p": [0.0, 0.0, 0.0, 0.0, 0.1],
        "repetition_penalty": [1.0, 1.5, 2.0, 1.0, 1.0],
        "presence_penalty": 0.5,
        "output_tokens": [[1, 2], [], [int(logits[2].argmax())], [5], [0]],
    }
    for seed in range(8):
        drawn = []
        for backend in ("torch", BACKEND):
            generators = [torch.Generator().manual_seed(seed * 10 + i) for i in range(5)]
            drawn.append(api.sample(logits, generator=generators, backend=backend, **options))
        assert torch.equal(*drawn)
    counted = {"seeds": [1, 2, 3, 4, 5], "steps": [0, 0, 7, 1, 1]}
    assert torch.equal(
        api.sample(logits, backend="torch", **options, **counted),
        api.sample(logits, backend=BACKEND, **options, **counted),
    )
    one = api.sample(logits[0], 0.0, backend=BACKEND)
    assert one.shape == ()
    assert one == logits[0].argmax()
    assert api.sample(logits[:0], backend=BACKEND).shape == (0,)
    uneven = logits.t().contiguous().t()
    assert torch.equal(api.sample(uneven, 0.0, backend=BACKEND), logits.argmax(-1))


def test_what_is_refused():
    """S3, S4: bad values by row; seeds that do not fit; a vocabulary beyond the kernels'."""
    logits = torch.randn(2, 9, device=DEVICE)
    for options, message in (
        ({"temperature": [1.0, -1.0]}, "row 1: temperature"),
        ({"top_p": [0.0, 1.0]}, "row 0: top_p"),
        ({"top_p": 1.5}, "row 0: top_p"),
        ({"top_k": 0}, "row 0: top_k"),
        ({"seeds": [1, 2]}, "seeds and steps"),
        ({"seeds": [1], "steps": [1]}, "seeds must be 2 integers, got .1."),
        ({"seeds": [1, -2], "steps": [1, 2]}, "seeds must lie in 0..*, got -2"),
        ({"seeds": [1, 2], "steps": [1, 2], "generator": torch.Generator()}, "not both"),
    ):
        for backend in ("torch", BACKEND):
            with pytest.raises(ValueError, match=message):
                api.sample(logits, backend=backend, **options)
    with pytest.raises(api.BackendError, match="up to 4194304 logits"):
        api.sample(torch.empty(0, 2**22 + 1, device=DEVICE), backend=BACKEND)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    vocab_size=st.integers(1, 90),
    temperature=st.sampled_from([1.0, 0.3, 2.5]),
    spread=st.sampled_from([0.0, 0.1, 2.0, 50.0]),
    whole=st.booleans(),
    top_k=st.integers(-1, 40).filter(bool),
    part=st.floats(0, 0.999),
)
def test_random_rows(seed, vocab_size, temperature, spread, whole, top_k, part):
    """Within the contract: any spread, ties or none, any top_k and top_p together."""
    row = torch.randn(1, vocab_size, generator=torch.Generator().manual_seed(seed)) * spread
    row = row.round() if whole else row
    _, weights = sorted_weights(row, [temperature])
    setup = twin.Settings([temperature], [between_two_sums(weights[0], top_k, part)], [top_k], [0.0])
    for rung in RUNGS:
        check_rung(rung, row.to(DEVICE), setup)
