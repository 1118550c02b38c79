"""Sampling a token for each of 128 requests from a vocabulary of 131,072, as at the end of a decode step.

The cost is one reading of the logits: what is slower reads them several times, or computes much in between.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType

import torch

from yaie.bench.kernel_cases import Call, Case, Setting, Work, package
from yaie.kernels import sampling as twin
from yaie.kernels.ops import KernelOperations
from yaie.profiling.costs import Cost

# name: temperature, top_k, top_p
WISHES = {
    "greedy": (0.0, -1, 1.0),
    "temperature 0.8": (0.8, -1, 1.0),
    "top-p 0.9": (1.0, -1, 0.9),
    "top-p 0.9, temperature 4": (4.0, -1, 0.9),  # a flat distribution: tens of thousands of tokens are kept
    "top-k 50": (1.0, 50, 1.0),
    "top-k 50, top-p 0.9, temperature 0.8": (0.8, 50, 0.9),
}


def cases(setting: Setting) -> list[Case]:
    rows, vocab_size = (128, 128 * 1024) if setting.real else (3, 1500)
    return [sample(setting, name, rows, vocab_size) for name in WISHES]


def sample(setting: Setting, name: str, rows: int, vocab_size: int) -> Case:
    """Logits with a standard deviation of 4: peaked as a language model's, a few hundred tokens in the top 0.9."""
    temperature, top_k, top_p = WISHES[name]
    settings = twin.Settings([temperature] * rows, [top_p] * rows, [top_k] * rows, [0.0] * rows)

    def make() -> Work:
        logits = setting.random(rows, vocab_size, scale=4.0)
        uniforms = torch.rand(rows, dtype=torch.float64, device=setting.device)

        def by_torch() -> torch.Tensor:
            return twin.draw_tokens(twin.filtered_probabilities(logits, settings), uniforms)

        ours = {
            name: launcher_call(rung, logits, settings, uniforms) for name, rung in setting.operations("sample").items()
        }
        peers = {"torch, topk of the engine's twin": by_torch}
        if temperature > 0:
            peers["torch, full sort"] = functools.partial(by_sorting, logits, temperature, top_k, top_p, uniforms)
        of = {}
        if setting.real and setting.peers and temperature > 0 and (flashinfer := package("flashinfer")):
            theirs = f"flashinfer {flashinfer.__version__}, softmax and draw"
            peers[theirs] = by_flashinfer(package("flashinfer.sampling"), logits, WISHES[name])
            of[theirs] = functools.partial(is_kept, logits, WISHES[name])
        right = functools.partial(is_right, logits, WISHES[name], uniforms)
        everywhere = torch.ones(rows, dtype=torch.bool, device=setting.device)
        return Work(ours=ours, peers=peers, wanted=lambda: everywhere, of_ours=right, of_peers=right, of=of)

    cost = Cost(bytes=rows * vocab_size * 4, flops=2 * rows * vocab_size)
    return Case(f"sample, {name}, {rows} x {vocab_size} float32", make, cost, ceiling="read")


def is_right(
    logits: torch.Tensor, wishes: tuple[float, int, float], uniforms: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """Whether each token stands where its uniform falls in the running sum of those that a sort keeps, in float64.

    Two ways to sum 131,072 numbers differ in the last digits, and then one of 128 rows may draw a neighbour: hence an
    allowance of 2e-6 of the sum. Of a flat distribution one token more or less is kept then, which shifts all sums by
    1e-5 and more. The exact sets are compared in tests/csrc/test_sampling.py.
    """
    if wishes[0] == 0:
        return tokens == logits.argmax(dim=-1)
    kept, allowance = kept_weights(logits, wishes)
    place = tokens.view(-1, 1)
    sums = kept.cumsum(dim=-1) / kept.sum(dim=-1, keepdim=True)
    share = kept.gather(1, place) / kept.sum(dim=-1, keepdim=True)
    end = sums.gather(1, place)
    inside = (end - share - allowance <= uniforms[:, None]) & (uniforms[:, None] <= end + allowance)
    return ((share > 0) & inside).squeeze(1)


def is_kept(logits: torch.Tensor, wishes: tuple[float, int, float], tokens: torch.Tensor) -> torch.Tensor:
    """Whether each token is one of those that a sort keeps: all that can be said where others draw their numbers."""
    return kept_weights(logits, wishes)[0].gather(1, tokens.long().view(-1, 1)).squeeze(1) > 0


def kept_weights(logits: torch.Tensor, wishes: tuple[float, int, float]) -> tuple[torch.Tensor, float]:
    """The weights of the tokens that a sort keeps, 0 for the others, in float64; and the allowance in top-p."""
    temperature, top_k, top_p = wishes
    allowance = 2e-6 if temperature <= 1 else 5e-5
    weights = ((logits - logits.amax(dim=-1, keepdim=True)) / temperature).double().exp()
    sorted_weights, ids = weights.sort(dim=-1, descending=True, stable=True)
    if top_k > 0:
        sorted_weights[:, top_k:] = 0
    before = sorted_weights.cumsum(dim=-1) - sorted_weights
    sorted_weights[before >= (top_p + allowance) * sorted_weights.sum(dim=-1, keepdim=True)] = 0
    return torch.zeros_like(weights).scatter_(1, ids, sorted_weights), allowance


def launcher_call(rung: KernelOperations, logits: torch.Tensor, settings: twin.Settings, uniforms) -> Call:
    """A call of one rung with everything on the device already, as a captured step would make it."""
    device, (rows, vocab_size) = logits.device, logits.shape
    tokens = torch.empty(rows, dtype=torch.int64, device=device)
    launch = rung.launch[rung.known_rungs["sample"][rung.rungs["sample"]]]
    wishes = (
        torch.tensor(settings.temperature, dtype=torch.float32, device=device),
        torch.tensor(settings.top_k, dtype=torch.int32, device=device),
        torch.tensor(settings.top_p, dtype=torch.float64, device=device),
        torch.full((rows,), math.inf, device=device),
    )

    def call() -> torch.Tensor:
        launch(logits, *wishes, uniforms, None, None, tokens, None, rows, vocab_size)
        return tokens

    return call


def by_flashinfer(sampling: ModuleType, logits: torch.Tensor, wishes: tuple[float, int, float]) -> Call:
    """Its softmax, then its draw with the filters that are asked for, each setting a tensor with an entry a row, as in
    an engine. Written from its documentation and source (flashinfer/sampling.py); it has not run yet."""
    rows, device = len(logits), logits.device
    temperature, top_k, top_p = wishes
    temperatures, shares = (torch.full((rows,), value, device=device) for value in (temperature, top_p))
    counts = torch.full((rows,), top_k, dtype=torch.int32, device=device)

    def call() -> torch.Tensor:
        probs = sampling.softmax(logits, temperatures)
        if top_k > 0 and top_p < 1:
            return sampling.top_k_top_p_sampling_from_probs(probs, counts, shares, filter_apply_order="top_k_first")
        if top_k > 0:
            return sampling.top_k_sampling_from_probs(probs, counts)
        return sampling.top_p_sampling_from_probs(probs, shares) if top_p < 1 else sampling.sampling_from_probs(probs)

    return call


def by_sorting(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, uniforms: torch.Tensor
) -> torch.Tensor:
    """The usual way: sort the whole vocabulary, cut, put back, draw."""
    probs, ids = (logits / temperature).softmax(dim=-1).sort(dim=-1, descending=True)
    if top_k > 0:
        probs[:, top_k:] = 0
    if top_p < 1:
        share = probs.double().cumsum(dim=-1)
        probs[share - probs >= top_p * share[:, -1:]] = 0
    return twin.draw_tokens(torch.zeros_like(probs).scatter_(1, ids, probs), uniforms)
