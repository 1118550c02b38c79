"""From logits to a token: penalties, temperature, top-k, top-p, min-p, then one draw per row.

The steps run in that order. Each filter takes logits and returns logits in which a dropped token is -inf, so a later
filter sees what is left, renormalised. Logits are float32 from the first step on, sums of probabilities float64.

A row's token depends on its own logits, parameters and generator only, to the last bit: nothing is reduced across rows.
Every row draws one number, whatever its temperature: with a generator per row a request draws the same numbers alone
and in any batch, and its later numbers do not depend on its parameters.

Equal logits: where a filter must choose among them, the lower token id goes first. So top-k keeps exactly k tokens,
top-p the smallest set, temperature 0 takes the lowest id, and top_k=1 is greedy.

Sources: top-p from Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020); repetition penalty from
Keskar et al., "CTRL" (2019); presence penalty as in the OpenAI API; min-p from Nguyen et al., "Turning Up the Heat:
Min-p Sampling" (2024).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from yaie.kernels import checks, radix_tree
from yaie.kernels.devices import to_device

Parameter = float | Sequence[float] | Tensor
Generators = torch.Generator | Sequence[torch.Generator | None] | None
Tokens = Sequence[Sequence[int]] | Tensor | None  # ids for each row

# --- the steps: each on logits [num_seqs, vocab_size], float32, with parameters [num_seqs]; dropped is -inf --


def apply_temperature(logits: Tensor, temperature: Tensor) -> Tensor:
    """`(logits - largest of the row) / temperature`; at temperature 0 (greedy) 0 at the largest logit, -inf elsewhere.

    Subtracting first changes no probability and keeps a tiny temperature from overflowing. Of equal largest logits
    greedy keeps the lowest id. Logits may be -inf, but not in a whole row.
    """
    is_greedy = (temperature == 0)[:, None]
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    scaled = shifted / temperature[:, None].masked_fill(is_greedy, 1)
    best = torch.full_like(logits, -math.inf).scatter(1, logits.argmax(dim=-1, keepdim=True), 0)
    return torch.where(is_greedy, best, scaled)


def keep_largest(logits: Tensor, counts: Tensor) -> Tensor:
    """Keep the `counts[row]` (int64, 1 to `vocab_size`) largest logits of each row; among equals lower ids are kept."""
    keeps_all = counts >= logits.shape[-1]
    ranks = counts.masked_fill(keeps_all, 1)[:, None]
    smallest_kept = logits.topk(int(ranks.max()), dim=-1).values.gather(1, ranks - 1)
    smallest_kept = smallest_kept.masked_fill(keeps_all[:, None], -math.inf)
    above = logits > smallest_kept
    equal = logits == smallest_kept
    room = counts[:, None] - above.sum(dim=-1, keepdim=True)
    return logits.masked_fill(~(above | (equal & (equal.cumsum(dim=-1) <= room))), -math.inf)


def keep_top_k(logits: Tensor, top_k: Tensor) -> Tensor:
    """Keep the `top_k[row]` most likely tokens of each row; -1, or anything beyond `vocab_size`, keeps all."""
    vocab_size = logits.shape[-1]
    counts = torch.where(top_k < 0, vocab_size, top_k.clamp(max=vocab_size))
    return keep_largest(logits, counts)


def keep_top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches `top_p[row]`; 1 keeps all.

    The token that crosses the threshold is kept: 0.7 of `[.5, .3, .15, .05]` keeps two tokens.
    """
    keeps_all = top_p == 1
    largest = largest_until(logits.softmax(dim=-1), top_p.masked_fill(keeps_all, 0))
    mass_before = largest.cumsum(dim=-1) - largest
    counts = (mass_before < top_p[:, None]).sum(dim=-1)
    return keep_largest(logits, counts.masked_fill(keeps_all, logits.shape[-1]))


def largest_until(probs: Tensor, mass: Tensor) -> Tensor:
    """The largest probabilities of each row in descending order, float64: enough to reach `mass` in every row.

    Sorting a few is cheaper than sorting a vocabulary. 64, and 8 times as many if that was not enough, are a choice.
    """
    count, vocab_size = 64, probs.shape[-1]
    while True:
        largest = probs.topk(min(count, vocab_size), dim=-1).values.double()
        if count >= vocab_size or (largest.cumsum(dim=-1)[:, -1] >= mass).all():
            return largest
        count *= 8


def keep_min_p(logits: Tensor, min_p: Tensor) -> Tensor:
    """Keep tokens at least `min_p[row]` times as likely as the likeliest."""
    below_largest = logits - logits.amax(dim=-1, keepdim=True)
    return logits.masked_fill(below_largest < min_p[:, None].log(), -math.inf)


def apply_penalties(
    logits: Tensor, in_prompt: Tensor, in_output: Tensor, repetition_penalty: Tensor, presence_penalty: Tensor
) -> Tensor:
    """Make tokens less likely that are `in_prompt` or `in_output`, `[num_seqs, vocab_size]`, bool.

    For tokens of both a positive logit is divided by the repetition penalty, and a negative one multiplied. The
    presence penalty is subtracted from the logits of tokens of the output.
    """
    repetition_penalty = repetition_penalty[:, None]
    punished = torch.where(logits > 0, logits / repetition_penalty, logits * repetition_penalty)
    logits = torch.where(in_prompt | in_output, punished, logits)
    return logits - in_output * presence_penalty[:, None]


def draw_uniforms(num_seqs: int, generator: Generators = None) -> Tensor:
    """One number from [0, 1) per row: `[num_seqs]`, float64, on the CPU.

    With a generator per row, row `i` takes its number from `generator[i]`, so what it gets does not depend on the other
    rows. One generator (None: torch's own) serves all rows in turn.
    """
    if generator is None or isinstance(generator, torch.Generator):
        generator = [generator] * num_seqs
    numbers = [
        torch.rand((), dtype=torch.float64, generator=g, device=g.device if g is not None else "cpu").item()
        for g in generator
    ]
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")


def draw_tokens(probs: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token per row of `probs` by inverting the cumulative distribution: `[num_seqs]`, int64.

    Token `i` gets the `uniforms` (float64, in [0, 1)) from (probability of all tokens before `i`) up to, not including,
    that plus its own. A token of probability 0 gets none, and a row with NaN gives `vocab_size`. No probability is
    negative, and each row has a positive sum, which need not be 1.
    """
    cumulative = probs.double().cumsum(dim=-1)
    total = cumulative[:, -1:]
    # The largest float64 below 1 is 1 - 2**-53, and that times total rounds to less than total, never to it.
    target = uniforms.to(probs.device)[:, None] * total
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)


# --- all steps together -------------------------------------------------------------------------------------


class SamplingKernel:
    """Chooses the next token of every row. Holds no state: generators belong to the requests."""

    def sample(
        self,
        logits: Tensor,
        temperature: Parameter = 1.0,
        top_p: Parameter = 1.0,
        top_k: int | Sequence[int] | Tensor = -1,
        generator: Generators = None,
        **more: Any,
    ) -> Tensor:
        """Draw one token per row: ids `[num_seqs]`, int64 (`[]` for 1-D logits), on the device of logits.

        logits: `[num_seqs, vocab_size]` or `[vocab_size]`, any floating dtype
        temperature, top_p, top_k: one value for all rows, or one per row (sequence or tensor)
        generator: one per row (list), or one for all rows, which then depend on their order
        more: by name, `min_p` (0), `repetition_penalty` (1) and `presence_penalty` (0), likewise; for the penalties
            `prompt_tokens` and `output_tokens`

        ValueError names the row: a parameter out of range, NaN or +inf, or no token left to choose.
        """
        rows, settings = prepare(logits, temperature, top_p, top_k, **more)
        check_generators(generator, len(rows))
        probs = filtered_probabilities(rows, settings)
        return draw_tokens(probs, draw_uniforms(len(rows), generator)).view(logits.shape[:-1])

    def probabilities(self, logits: Tensor, *args: Any, **more: Any) -> Tensor:
        """The distribution that `sample` draws from: float32, shaped like logits. Arguments as for `sample`."""
        return filtered_probabilities(*prepare(logits, *args, **more)).view(logits.shape)


class Settings(NamedTuple):
    """What the filters of each row are set to: `num_seqs` numbers each."""

    temperature: list[float]
    top_p: list[float]
    top_k: list[int]
    min_p: list[float]


def prepare(
    logits: Tensor,
    temperature: Parameter = 1.0,
    top_p: Parameter = 1.0,
    top_k: int | Sequence[int] | Tensor = -1,
    *,
    min_p: Parameter = 0.0,
    repetition_penalty: Parameter = 1.0,
    presence_penalty: Parameter = 0.0,
    prompt_tokens: Tokens = None,
    output_tokens: Tokens = None,
) -> tuple[Tensor, Settings]:
    """All that comes before the filters, checked: `[num_seqs, vocab_size]` float32, and the settings of each row."""
    checks.tensor("logits", logits)
    right = logits.ndim in (1, 2) and logits.dtype in checks.FLOATS and logits.shape[-1] > 0
    checks.require(right, "logits must be floating, [num_seqs, vocab_size] or [vocab_size]", logits)
    logits = logits.reshape(-1, logits.shape[-1])
    given = temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty
    *settings, repetition, presence = (_per_row(name, x, len(logits)) for name, x in zip(RULES, given, strict=True))
    _check_tokens("prompt_tokens", prompt_tokens, logits)
    _check_tokens("output_tokens", output_tokens, logits)
    rows = penalised(logits, repetition, presence, prompt_tokens, output_tokens).float()
    check_rows(rows)
    return rows, Settings(*settings)


def penalised(
    logits: Tensor, repetition: Sequence[float], presence: Sequence[float], prompt_tokens: Tokens, output_tokens: Tokens
) -> Tensor:
    """Logits `[num_seqs, vocab_size]` after the penalties of each row; the same tensor where no row has any."""
    if all(r == 1 for r in repetition) and all(p == 0 for p in presence):
        return logits
    occurrences = (_occurrences(tokens, logits) for tokens in (prompt_tokens, output_tokens))
    both = (torch.tensor(penalty, device=logits.device, dtype=torch.float32) for penalty in (repetition, presence))
    return apply_penalties(logits.float(), *occurrences, *both)


class Draws:
    """How each row of a batch has its token chosen. It stays while the same requests take part: so do its tensors.

    params: of each row; its attributes are the parameters of `RULES`
    seeds, firsts: with n tokens a row draws number `n - first` of the sequence of its seed (`counter_uniforms`)
    """

    def __init__(self, params: Sequence[Any], seeds: Sequence[int], firsts: Sequence[int], device: torch.device):
        settings = Settings(*([getattr(each, name) for each in params] for name in Settings._fields))
        self.penalties = [each.repetition_penalty for each in params], [each.presence_penalty for each in params]
        self.has_penalty = any(each.has_penalty for each in params)
        self.drawn = [row for row, t in enumerate(settings.temperature) if t != 0]
        self.of_drawn = Settings(*([values[row] for row in self.drawn] for values in settings))

        self.parameters = for_kernels(settings, device)
        numbers = (torch.tensor(values, dtype=torch.int64) for values in (seeds, firsts, self.drawn))
        self.seeds, self.firsts, self.rows = (to_device(values, device) for values in numbers)


def for_kernels(settings: Settings, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Parameters of rows as the kernels take them: temperature, top_k, top_p, and how far below the largest logit a
    token may lie for min_p, in logits."""
    dtypes = torch.float32, torch.float64, torch.int32, torch.float32
    tensors = (torch.tensor(values, dtype=dtype) for values, dtype in zip(settings, dtypes, strict=True))
    temperature, top_p, top_k, min_p = (to_device(values, device) for values in tensors)
    return temperature, top_k, top_p, min_p.log().abs()  # not -log: of 1 that is -0


def filtered_probabilities(logits: Tensor, settings: Settings) -> Tensor:
    """Temperature, top-k, top-p and min-p: logits `[num_seqs, vocab_size]`, float32, to probabilities."""
    temperature, top_p, top_k, min_p = settings

    def on_device(values: list, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.tensor(values, device=logits.device, dtype=dtype)

    # Where some row is filtered, also the logits of rows with temperature 1 become distances from their largest: what
    # is equal after this rounding, and so what is kept, must not depend on the other rows.
    filtered = any(k != -1 for k in top_k) or any(p != 1 for p in top_p)
    if filtered or any(t != 1 for t in temperature):
        logits = apply_temperature(logits, on_device(temperature))
    if any(k != -1 for k in top_k):
        logits = keep_top_k(logits, on_device(top_k, torch.int64))
    if any(p != 1 for p in top_p):
        logits = keep_top_p(logits, on_device(top_p, torch.float64))
    if any(p != 0 for p in min_p):
        logits = keep_min_p(logits, on_device(min_p))
    return logits.softmax(dim=-1)


def counter_uniforms(seeds: Sequence[int] | Tensor, steps: Sequence[int] | Tensor) -> Tensor:
    """Number `steps[row]` of the sequence that belongs to `seeds[row]`, from [0, 1), float64 `[num_seqs]`.

    It is worked out from seed and step alone (both from 0 to 2**63 - 1), on the device where they are: there is no
    state to keep, so a request draws the same numbers in any batch and after any pause.

    Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011): Philox 4x32 with 10 rounds.
    """
    seeds, steps = torch.as_tensor(seeds, dtype=torch.int64), torch.as_tensor(steps, dtype=torch.int64)
    low = 0xFFFFFFFF  # products and shifts keep the right 64 bits; what a sign fills in is masked out
    constants = torch.tensor([[[0xD2511F53], [0xCD9E8D57]], [[0x9E3779B9], [0xBB67AE85]]])
    factors, growth = to_device(constants, seeds.device)
    rounds = torch.arange(10, device=seeds.device)[:, None, None]
    keys = torch.stack((seeds & low, seeds >> 32)) + rounds * growth & low
    even = torch.stack((steps & low, torch.zeros_like(steps)))  # of the counter's four words the first and the third
    odd = torch.stack((steps >> 32, torch.zeros_like(steps)))
    for key in keys:
        products = (even * factors).flip(0)
        even, odd = products >> 32 & low ^ odd ^ key, products & low
    bits = (odd[0] << 32 | even[0]) >> 11 & 2**53 - 1  # the 53 that a float64 holds
    return bits.double() / 2**53


# The parameters by name: the words for what each must be, and whether a number is that. No step leaves the range of
# float32 for logits up to 1e36.
RULES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "temperature": ("0 (greedy) or from 1e-30 to 1e30", lambda t: t == 0 or 1e-30 <= t <= 1e30),
    "top_p": ("above 0 and at most 1", lambda p: 0 < p <= 1),
    "top_k": ("-1 (all) or an integer from 1 to 2**31 - 1", lambda k: k == -1 or 1 <= k < 2**31),
    "min_p": ("from 0 to 1", lambda p: 0 <= p <= 1),
    "repetition_penalty": ("from 0.01 to 100", lambda r: 0.01 <= r <= 100),
    "presence_penalty": ("from -2 to 2", lambda p: -2 <= p <= 2),  # the range of the OpenAI API
}


def _per_row(name: str, value: Parameter, num_seqs: int) -> list:
    """A parameter as one number per row, each checked."""
    if isinstance(value, Tensor):
        checks.tensor(name, value)
    if hasattr(value, "tolist"):  # a tensor or an array
        value = value.tolist()
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * num_seqs
    checks.require(len(values) == num_seqs, f"{name} has {len(values)} values for {num_seqs} rows of logits")
    for row, each in enumerate(values):
        check_parameter(name, each, f"row {row}")
    return values


def check_parameter(name: str, value: Any, whose: str) -> None:
    """Raise ValueError that names `whose` parameter it is, unless it is a number that follows its rule."""
    (rule, is_allowed), is_kind = RULES[name], checks.is_integer if name == "top_k" else checks.is_number
    checks.require(is_kind(value) and is_allowed(value), f"{whose}: {name} must be {rule}", value)


def check_rows(logits: Tensor) -> None:
    """Raise ValueError naming the first row with NaN, +inf or nothing but -inf in it."""
    largest = logits.amax(dim=-1)  # NaN if any logit is
    if largest.isfinite().all():
        return
    row = int((~largest.isfinite()).nonzero()[0])
    if largest[row] == -math.inf:
        raise ValueError(f"row {row}: every logit is -inf, there is no token to choose")
    token = int((logits[row].isnan() | (logits[row] == math.inf)).nonzero()[0])
    raise ValueError(f"row {row}: the logit of token {token} is {logits[row, token].item()}")


def check_generators(generator: Generators, num_seqs: int) -> None:
    """Raise ValueError unless there is one generator, or one for each row."""
    if generator is None or isinstance(generator, torch.Generator):
        return
    several = isinstance(generator, Sequence)
    checks.require(several, "generator must be a torch.Generator or a list of them", generator)
    alike = len(generator) == num_seqs
    checks.require(alike, f"generator has {len(generator)} entries for {num_seqs} rows of logits")
    for row, entry in enumerate(generator):
        right = isinstance(entry, torch.Generator | None)
        checks.require(right, f"row {row}: generator must be a torch.Generator or None", entry)


def _check_tokens(name: str, tokens: Tokens, logits: Tensor) -> None:
    num_seqs, vocab_size = logits.shape
    if isinstance(tokens, Tensor):
        checks.tensor(name, tokens)
    if tokens is not None:
        several = isinstance(tokens, Sequence | np.ndarray | Tensor) and not isinstance(tokens, str | bytes)
        checks.require(several, f"{name} must be a sequence of token ids per row", tokens)
        alike = len(tokens) == num_seqs
        checks.require(alike, f"{name} has {len(tokens)} sequences for {num_seqs} rows of logits")
        for row, ids in enumerate(tokens):
            ids = radix_tree.as_int_array(ids, f"row {row}: {name}")
            known = not len(ids) or 0 <= ids.min() <= ids.max() < vocab_size
            checks.require(known, f"row {row}: {name} has ids outside the vocabulary of {vocab_size}")


def _occurrences(tokens: Tokens, logits: Tensor) -> Tensor:
    """Which tokens occur in each row, `[num_seqs, vocab_size]`, bool."""
    seen = np.zeros(logits.shape, dtype=bool)
    for row, ids in enumerate(() if tokens is None else tokens):
        seen[row, np.asarray(ids, dtype=np.int64)] = True
    return torch.from_numpy(seen).to(logits.device)
