"""Lesson 04: sampling, from the logits of a model to one token."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import torch

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import sampling

LESSON = Lesson(4, "sampling", "Sampling: from logits to a token", minutes=100)

NO = -math.inf


def _random_logits(num_seqs: int, vocab_size: int) -> torch.Tensor:
    """Normal logits in which some are equal (rounded to quarters), so that ties occur in large rows, too."""
    generator = torch.Generator().manual_seed(1000 * num_seqs + vocab_size)
    return (torch.randn(num_seqs, vocab_size, generator=generator) * 8).round() / 4


def _rows(logits: torch.Tensor) -> str:
    """Logits as a line of code."""
    if logits.numel() <= 24:
        return f"torch.tensor({[[round(x, 4) for x in row] for row in logits.tolist()]})".replace("-inf", "-math.inf")
    return f"random logits {list(logits.shape)}"


def _unchanged(logits: torch.Tensor, before: torch.Tensor) -> None:
    expect(logits, before, "content of `logits` after the call (they belong to the caller and must stay as they were)")


def _ids_kept(logits: torch.Tensor) -> list[list[int]]:
    return [[i for i, x in enumerate(row) if x != NO] for row in logits.tolist()]


def _by_logit(row: list[float]) -> list[int]:
    """Token ids from the largest logit to the smallest, lower ids first among equals."""
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


TEMPERATURE_CASES: tuple[tuple[list[list[float]], list[float]], ...] = (
    ([[2.0, 1.0, 0.0]], [1.0]),
    ([[2.0, 1.0, 0.0]], [0.5]),
    ([[0.0, 3.0, 1.0]], [2.0]),
    ([[0.0, 3.0, 1.0]], [0.0]),
    ([[5.0, 7.0, 7.0, 7.0]], [0.0]),
    ([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], [1.0, 0.25]),
    ([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, NO, 4.0]], [0.5, 0.0, 2.0]),
    ([[1000.0, 999.0]], [0.001]),
    ([[-3.0]], [0.0]),
)


@LESSON.exercise(
    "4.1",
    title="Temperature",
    target="yaie.kernels.sampling:apply_temperature",
    minutes=10,
    task="Subtract from each row its largest logit and divide by the row's temperature. In a row with temperature 0, "
    "keep only the largest logit: 0 at its place and -inf elsewhere. The row [2, 1, 0] becomes [0, -2, -4] at "
    "temperature 0.5 and [0, -inf, -inf] at temperature 0.",
    hints=(
        "Rows with temperature 0 need another answer than the rest. Compute both answers for all rows, and choose with "
        "`torch.where`, which takes a condition of shape [num_seqs, 1].",
        "`logits.amax(dim=-1, keepdim=True)` has shape [num_seqs, 1], and `temperature[:, None]` has, too. "
        "`logits.argmax(dim=-1)` gives the place of the largest logit, the lowest among equals.",
        "shifted = logits - logits.amax(dim=-1, keepdim=True); best = torch.full_like(logits, -math.inf); "
        "best[torch.arange(len(logits)), logits.argmax(dim=-1)] = 0; return torch.where(temperature[:, None] == 0, "
        "best, shifted / temperature[:, None]).",
    ),
    mutants=(
        Mutant(
            "logits - logits.amax(dim=-1, keepdim=True)\n",
            "logits\n",
            "The largest logit was not subtracted. Without that, a tiny temperature turns large logits into inf.",
        ),
        Mutant(
            "shifted / temperature",
            "shifted * temperature",
            "Divide by the temperature: a small one must pull the logits apart, and multiplying pushes them together.",
        ),
        Mutant(
            ".masked_fill(is_greedy, 1)\n"
            "    best = torch.full_like(logits, -math.inf).scatter(1, logits.argmax(dim=-1, keepdim=True), 0)\n"
            "    return torch.where(is_greedy, best, scaled)\n",
            "\n    return scaled\n",
            "At temperature 0 this divides 0 by 0, which is NaN. Such a row needs its own answer: 0 at the largest "
            "logit, -inf elsewhere.",
        ),
        Mutant(
            "torch.full_like(logits, -math.inf).scatter(1, logits.argmax(dim=-1, keepdim=True), 0)",
            "torch.zeros_like(logits).masked_fill(shifted < 0, -math.inf)",
            "Every logit that equals the largest was kept. Greedy means one token: the one with the lowest id.",
        ),
        Mutant(
            "temperature[:, None].masked_fill",
            "temperature[:1, None].masked_fill",
            "All rows were divided by the temperature of the first one. `temperature[:, None]` gives each row its own.",
        ),
        Mutant(
            "logits - logits.amax(dim=-1, keepdim=True)",
            "logits.sub_(logits.amax(dim=-1, keepdim=True))",
            "The logits of the caller were changed. Make a new tensor: `x = x - y` and not `x -= y`.",
        ),
    ),
)
def check_apply_temperature() -> None:
    cases = [(torch.tensor(rows), temperature) for rows, temperature in TEMPERATURE_CASES]
    cases += [(_random_logits(n, size), [0.0, 0.7, 1.5, 0.2][:n]) for n, size in ((1, 1), (3, 17), (4, 129))]
    for logits, temperature in cases:
        expected = []
        for row, t in zip(logits.tolist(), temperature, strict=True):
            best = _by_logit(row)[0]
            if t == 0:
                expected.append([0.0 if i == best else NO for i in range(len(row))])
            else:
                expected.append([(x - row[best]) / t for x in row])
        before = logits.clone()
        with given(f"apply_temperature({_rows(logits)}, torch.tensor({temperature}))"):
            got = sampling.apply_temperature(logits, torch.tensor(temperature))
            expect(got, torch.tensor(expected), "result", tolerance=1e-3)
            _unchanged(logits, before)
    with given("apply_temperature(torch.tensor([[1000., 999., 0.]]), torch.tensor([1e-38])).softmax(-1)"):
        tiny = sampling.apply_temperature(torch.tensor([[1000.0, 999.0, 0.0]]), torch.tensor([1e-38]))
        expect(tiny.softmax(dim=-1), torch.tensor([[1.0, 0.0, 0.0]]), "row of probabilities", tolerance=1e-6)


LARGEST_CASES: tuple[tuple[list[list[float]], list[int]], ...] = (
    ([[3.0, 1.0, 2.0]], [2]),
    ([[-3.0, -1.0, -2.0]], [1]),
    ([[1.0, 2.0, 2.0, 2.0]], [2]),
    ([[5.0, 4.0, 4.0, 5.0, 4.0]], [3]),
    ([[3.0, 1.0, 2.0]], [3]),
    ([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], [1, 2]),
    ([[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]], [3, 1, 4]),
    ([[NO, 1.0, NO, 0.0]], [3]),
    ([[7.0]], [1]),
)


@LESSON.exercise(
    "4.2",
    title="Top-k",
    target="yaie.kernels.sampling:keep_largest",
    minutes=15,
    task="Keep the `counts[row]` largest logits of each row and set the rest to -inf. Among equal logits the lower ids "
    "are kept, so that exactly `counts[row]` stay. Of [1, 2, 2, 2] the 2 largest are [-inf, 2, 2, -inf].",
    hints=(
        "You need the rank of each token in its row: 0 for the largest logit, 1 for the next. A token stays if its "
        "rank is smaller than the count of its row.",
        "`logits.sort(dim=-1, descending=True, stable=True).indices` are the token ids in order of rank. `stable` "
        "leaves equal logits in the order of their ids. Turn it round: `rank[row, order[row, r]] = r`.",
        "order = logits.sort(dim=-1, descending=True, stable=True).indices; rank = torch.empty_like(order)"
        ".scatter_(1, order, torch.arange(logits.shape[-1]).expand_as(order)); "
        "return logits.masked_fill(rank >= counts[:, None], -math.inf).",
    ),
    mutants=(
        Mutant(
            "<= room))), -math.inf)",
            "<= room))), 0.0)",
            "A dropped logit must be -inf. A logit of 0 is a logit like any other, and its token can be drawn.",
        ),
        Mutant(
            "~(above | (equal & (equal.cumsum(dim=-1) <= room)))",
            "~above",
            "One token too few was kept: the last of the `counts[row]` largest stays, too.",
        ),
        Mutant(
            "(equal & (equal.cumsum(dim=-1) <= room))",
            "equal",
            "All tokens that equal the last one kept were kept with it. Exactly `counts[row]` may stay.",
        ),
        Mutant(
            "equal.cumsum(dim=-1) <= room",
            "equal.flip(-1).cumsum(dim=-1).flip(-1) <= room",
            "Among equal logits the higher ids were kept. The lower ids go first; a stable sort keeps their order.",
        ),
        Mutant(
            ".values.gather(1, ranks - 1)",
            ".values[:, -1:]",
            "The largest of the counts was used for every row. Each row has its own count.",
        ),
        Mutant(
            "return logits.masked_fill(",
            "return logits.masked_fill_(",
            "The logits of the caller were changed. Make a new tensor: `masked_fill` and not `masked_fill_`.",
        ),
    ),
)
def check_keep_largest() -> None:
    cases = [(torch.tensor(rows), counts) for rows, counts in LARGEST_CASES]
    cases += [
        (_random_logits(n, size), [1, size, size // 2, 5][:n]) for n, size in ((2, 5), (3, 33), (4, 64), (4, 257))
    ]
    for logits, counts in cases:
        expected = [row.copy() for row in logits.tolist()]
        for row, count in zip(expected, counts, strict=True):
            for token in _by_logit(row)[count:]:
                row[token] = NO
        before = logits.clone()
        with given(f"keep_largest({_rows(logits)}, torch.tensor({counts}))"):
            got = sampling.keep_largest(logits, torch.tensor(counts))
            expect(got, torch.tensor(expected), "result")
            _unchanged(logits, before)
    with given("keep_top_k(torch.tensor([[3., 1., 2.]] * 3), torch.tensor([2, -1, 100])), which calls it"):
        got = sampling.keep_top_k(torch.tensor([[3.0, 1.0, 2.0]] * 3), torch.tensor([2, -1, 100]))
        expect(_ids_kept(got), [[0, 2], [0, 1, 2], [0, 1, 2]], "list of token ids that are kept")


HALVES = [0.5, 0.3, 0.15, 0.05]
NUCLEUS_CASES: tuple[tuple[list[list[float]], list[float]], ...] = (
    ([HALVES], [0.7]),
    ([HALVES], [0.4]),
    ([[0.05, 0.15, 0.3, 0.5]], [0.7]),
    ([[5.0, 3.0, 1.5, 0.5]], [0.9]),
    ([HALVES, HALVES], [0.4, 0.9]),
    ([[0.25, 0.25, 0.25, 0.25]], [0.6]),
    ([[1.0, 1e-12]], [1.0]),
    ([[0.5, 0.0, 0.5]], [0.9]),
    ([[2.0]], [0.01]),
)


@LESSON.exercise(
    "4.3",
    title="Top-p",
    target="yaie.kernels.sampling:keep_top_p",
    minutes=15,
    requires=("4.2",),
    task="Go through the tokens of a row from the most likely to the least, adding up their probabilities, and stop "
    "with the token that makes the sum reach `top_p`. That token stays, all after it become -inf. With the "
    "probabilities [.5, .3, .15, .05] and top_p 0.7 two tokens stay: 0.5 is not enough, 0.5 + 0.3 is.",
    hints=(
        "A token stays if the tokens before it, those that are more likely, do not reach `top_p` yet. So look at the "
        "sum before a token and not at the sum with it.",
        "`logits.softmax(dim=-1)` gives the probabilities, a descending sort orders them, and `cumsum(dim=-1)` minus "
        "the probability itself is the sum before a token. Count the tokens that stay in each row, and let "
        "`keep_largest(logits, counts)` do the rest.",
        "probs = logits.softmax(dim=-1).double().sort(dim=-1, descending=True).values; before = probs.cumsum(dim=-1) - "
        "probs; counts = (before < top_p[:, None]).sum(dim=-1); counts[top_p == 1] = logits.shape[-1]; "
        "return keep_largest(logits, counts).",
    ),
    mutants=(
        Mutant(
            "    mass_before = largest.cumsum(dim=-1) - largest\n"
            "    counts = (mass_before < top_p[:, None]).sum(dim=-1)\n",
            "    counts = (largest.cumsum(dim=-1) < top_p[:, None]).sum(dim=-1).clamp(min=1)\n",
            "The token that crosses the threshold was dropped. Compare the sum before a token with top_p, not the sum "
            "that includes it.",
        ),
        Mutant(
            "    counts = (mass_before < top_p[:, None]).sum(dim=-1)\n",
            "    counts = (mass_before < top_p[:, None]).sum(dim=-1) + 1\n",
            "One token too many was kept. The token that makes the sum reach top_p is the last one.",
        ),
        Mutant(
            "largest_until(logits.softmax(dim=-1), top_p.masked_fill(keeps_all, 0))",
            "logits.softmax(dim=-1).double()",
            "The probabilities were added up in the order of the token ids. Sort them first, the most likely in front.",
        ),
        Mutant(
            "logits.softmax(dim=-1)",
            "logits.exp()",
            "e to the power of a logit is not a probability yet. `softmax` divides by the sum of the row.",
        ),
        Mutant(
            "(mass_before < top_p[:, None])",
            "(mass_before < top_p[0])",
            "The threshold of the first row was used for all. `top_p[:, None]` gives each row its own.",
        ),
        Mutant(
            "counts.masked_fill(keeps_all, logits.shape[-1])",
            "counts",
            "With top_p 1 every token stays. Rounding makes the sum reach 1 before the least likely tokens had their "
            "turn, so top_p 1 must be a case of its own.",
        ),
    ),
)
def check_keep_top_p() -> None:
    cases = [(torch.tensor(rows).log(), rows, top_p, f"torch.tensor({rows}).log()") for rows, top_p in NUCLEUS_CASES]
    for n, size in ((2, 5), (3, 33), (4, 300)):
        logits = _random_logits(n, size)
        cases.append((logits, logits.double().exp().tolist(), [0.9, 0.5, 1.0, 0.99][:n], _rows(logits)))
    for logits, weights, top_p, text in cases:
        before = logits.clone()
        with given(f"keep_top_p({text}, torch.tensor({top_p}))"):
            got = sampling.keep_top_p(logits, torch.tensor(top_p, dtype=torch.float64))
            kept = [_nucleus(row, p) for row, p in zip(weights, top_p, strict=True)]
            expect(_ids_kept(got), kept, "list of token ids that are kept")
            expected = torch.full_like(logits, NO)
            for row, ids in enumerate(kept):
                expected[row, ids] = logits[row, ids]
            expect(got, expected, "result (the logits that are kept do not change)")
            _unchanged(logits, before)


def _nucleus(weights: list[float], top_p: float) -> list[int]:
    """Ids in the smallest set whose share reaches `top_p`, in order; a token of weight 0 is never kept."""
    if top_p == 1:
        return [i for i, weight in enumerate(weights) if weight > 0]
    kept, mass, total = [], 0.0, math.fsum(weights)
    for token in _by_logit(weights):
        if mass >= top_p * total:
            break
        kept.append(token)
        mass += weights[token]
    return sorted(kept)


DRAW_CASES: tuple[tuple[list[list[float]], list[float]], ...] = (
    ([[0.5, 0.25, 0.25]], [0.6]),
    ([[0.5, 0.25, 0.25]], [0.1]),
    ([[0.5, 0.25, 0.25]], [0.5]),
    ([[0.0, 1.0]], [0.0]),
    ([[1.0, 1.0, 2.0]], [0.4]),
    ([[0.5, 0.0, 0.0, 0.5, 0.0]], [math.nextafter(1, 0)]),
    ([[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]], [0.75, 0.25, 0.3]),
    ([[0.0, 0.0, 3.0]], [0.999]),
    ([[1.0]], [0.7]),
    # Each of the last 64 tokens is smaller than half the distance between 1 and the next float32.
    ([[1.0] + [2.0**-25] * 64], [1 - 2.0**-22]),
)


@LESSON.exercise(
    "4.4",
    title="Draw a token",
    target="yaie.kernels.sampling:draw_tokens",
    minutes=10,
    task="Lay the probabilities of a row side by side on a line and return the token on whose piece the number "
    "`uniforms[row]`, times the length of the line, falls. With [.5, .25, .25] the number 0.6 falls on token 1, whose "
    "piece goes from 0.5 up to 0.75. The number 0.5 falls on token 1, too: a piece has its left end and not its right.",
    hints=(
        "The right ends of the pieces are the cumulative sum of the probabilities. You look for the first one that is "
        "larger than the number.",
        "`torch.searchsorted(ends, target, right=True)` finds it in every row at once; `ends` is [num_seqs, "
        "vocab_size] and `target` is [num_seqs, 1]. The probabilities need not add up to 1, so multiply the number by "
        "the last end. Compute in float64.",
        "ends = probs.double().cumsum(dim=-1); target = uniforms[:, None] * ends[:, -1:]; "
        "return torch.searchsorted(ends, target, right=True)[:, 0].",
    ),
    mutants=(
        Mutant(
            ", right=True)",
            ")",
            "A number on the border of two pieces belongs to the right one (`right=True`). Otherwise 0.0 draws the "
            "first token even where its probability is 0.",
        ),
        Mutant(
            "[:, None] * total",
            "[:, None]",
            "The probabilities of a row need not add up to 1: the number must be multiplied by their sum.",
        ),
        Mutant(".squeeze(-1)", "", "The result has one axis too many: it must be [num_seqs]."),
        Mutant(
            "uniforms.to(probs.device)[:, None]",
            "uniforms.to(probs.device)[:1, None]",
            "The number of the first row was used for every row.",
        ),
        Mutant(
            "probs.double().cumsum(dim=-1)",
            "probs.cumsum(dim=-1).double()",
            "In float32 a small piece vanishes beside the sum to its left, so its token can never be drawn. Turn the "
            "probabilities into float64 before you add them up.",
        ),
    ),
)
def check_draw_tokens() -> None:
    cases = list(DRAW_CASES)
    for n, size in ((2, 17), (3, 257)):
        generator = torch.Generator().manual_seed(size)
        weights = torch.randint(0, 4, (n, size), generator=generator).float()
        uniforms = torch.rand(n, dtype=torch.float64, generator=generator)
        cases.append((weights.tolist(), uniforms.tolist()))
    for rows, uniforms in cases:
        expected = []
        for row, u in zip(rows, uniforms, strict=True):
            ends = list(itertools.accumulate(map(Fraction, row)))
            target = Fraction(u) * ends[-1]
            expected.append(next(i for i, end in enumerate(ends) if target < end))
        short = max(map(len, rows)) <= 8
        text = f"torch.tensor({rows})" if short else f"probabilities [{len(rows)}, {len(rows[0])}]"
        with given(f"draw_tokens({text}, torch.tensor({uniforms}, dtype=torch.float64))"):
            got = sampling.draw_tokens(torch.tensor(rows), torch.tensor(uniforms, dtype=torch.float64))
            expect(got, torch.tensor(expected), "list of tokens drawn")


@LESSON.exercise(
    "4.5",
    title="A generator per request",
    target="yaie.kernels.sampling:draw_uniforms",
    minutes=10,
    task="Return one random number for each row, each from the row's own generator. A request with a generator of seed "
    "7 gets the same numbers alone, in a batch of 2 and in a batch of 200, wherever in the batch it is.",
    hints=(
        "There are two cases: `generator` is one generator or None, which serves all rows, or it is a list with one "
        "for each row. Turn the first case into the second.",
        "`torch.rand((), dtype=torch.float64, generator=g)` draws one number from `g`. It moves `g` on by one number, "
        "so draw neither more nor less than one per row.",
        "if not a list: generator = [generator] * num_seqs; then "
        "torch.stack([torch.rand((), dtype=torch.float64, generator=g) for g in generator]).",
    ),
    mutants=(
        Mutant(
            "        for g in generator\n",
            "        for g in [generator[0]] * num_seqs\n",
            "The first generator served all rows. Row i draws from `generator[i]`, or its number depends on who else "
            "is in the batch.",
        ),
        Mutant(
            "dtype=torch.float64, generator=g,",
            "dtype=torch.float64, generator=None,",
            "The generator was not used. Give it to `torch.rand`: without it, torch's global one draws.",
        ),
        Mutant(
            "dtype=torch.float64, generator=g,",
            "dtype=torch.float32, generator=g,",
            "The number was drawn in float32, which knows only 16,777,216 numbers in [0, 1). Draw in float64.",
        ),
        Mutant(
            "        torch.rand((), dtype=torch.float64, generator=g, "
            'device=g.device if g is not None else "cpu").item()\n'
            "        for g in generator\n",
            "        torch.rand(num_seqs, dtype=torch.float64, generator=g)[row].item()\n"
            "        for row, g in enumerate(generator)\n",
            "Row i took the i-th number of its generator. Then a request's number depends on its place in the batch.",
        ),
        Mutant(
            "        generator = [generator] * num_seqs\n",
            "        return torch.rand(1, dtype=torch.float64, generator=generator).repeat(num_seqs)\n",
            "One generator gave all rows the same number. It serves the rows in turn, with a new number for each.",
        ),
    ),
)
def check_draw_uniforms() -> None:
    for seeds in ([7], [7, 8], [8, 7], [1, 2, 3, 7, 5]):
        with given(f"draw_uniforms({len(seeds)}, [generators with the seeds {seeds}])"):
            torch.manual_seed(0)
            got = sampling.draw_uniforms(len(seeds), [torch.Generator().manual_seed(s) for s in seeds])
            expected = torch.stack([_numbers(seed, 1)[0] for seed in seeds])
            expect(got, expected, "list of numbers")
            expect(str(got.dtype), "torch.float64", "dtype of the result")
    with given("draw_uniforms(2, [generators with the seeds [7, 8]]), called 3 times"):
        pair = [torch.Generator().manual_seed(s) for s in (7, 8)]
        got = torch.stack([sampling.draw_uniforms(2, pair) for _ in range(3)])
        expect(got, torch.stack([_numbers(7, 3), _numbers(8, 3)], dim=1), "list of numbers of the 3 calls")
    with given("draw_uniforms(4, one generator with the seed 7)"):
        got = sampling.draw_uniforms(4, torch.Generator().manual_seed(7))
        expect(got, _numbers(7, 4), "list of numbers")
    with given("torch.manual_seed(7); draw_uniforms(3)"):
        torch.manual_seed(7)
        expect(sampling.draw_uniforms(3), _numbers(7, 3), "list of numbers")
    _check_batch_mates()


def _numbers(seed: int, count: int) -> torch.Tensor:
    """The first numbers of a generator with that seed, drawn one by one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.rand((), dtype=torch.float64, generator=generator) for _ in range(count)])


def _check_batch_mates() -> None:
    """The tokens of one request through `SamplingKernel`, alone and in the middle of a changing batch."""
    kernel, logits = sampling.SamplingKernel(), _random_logits(6, 50)
    alone, own = [], torch.Generator().manual_seed(7)
    for step in range(6):
        alone.append(int(kernel.sample(logits[step], generator=[own])))
    with given("SamplingKernel().sample for 6 steps, each step with other requests in the batch"):
        own, among = torch.Generator().manual_seed(7), []
        for step in range(6):
            rows = torch.stack([logits[(step + i) % 6] for i in range(step + 1)]).flip(0)
            mates = [torch.Generator().manual_seed(100 * step + i) for i in range(step)]
            among.append(int(kernel.sample(rows, generator=[*mates, own])[-1]))
        expect(among, alone, "text (token ids) of the request with seed 7, which should be the one that it gets alone,")
