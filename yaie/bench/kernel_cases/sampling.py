"""Sampling with top-k and top-p from a large vocabulary: the logits must be read once, and a sort reads them often."""

from __future__ import annotations

import functools

import torch

from yaie.bench.costs import Cost
from yaie.bench.kernel_cases import Call, Case, Setting, Work, filled, package
from yaie.kernels.native import DTYPES
from yaie.kernels.native import sampling as native
from yaie.kernels.sampling import Settings

TEMPERATURE, TOP_P, TOP_K = 0.8, 0.95, 50


def cases(setting: Setting) -> list[Case]:
    batch, vocabulary = (128, 131_072) if setting.real else (4, 1024)
    return [case(setting, batch, vocabulary, top_k) for top_k in (-1, TOP_K)]


def case(setting: Setting, batch: int, vocabulary: int, top_k: int) -> Case:
    """Normal logits with a deviation of 3. The set of ours must be that of a sort; a peer's token must be in it."""

    def make() -> Work:
        logits = setting.random(batch, vocabulary, scale=3.0)
        kept, top_p = by_sorting(logits, top_k)
        wishes = Settings([TEMPERATURE] * batch, top_p.tolist(), [top_k] * batch, [0.0] * batch)
        arguments, limits = launch_arguments(logits, top_p, top_k)
        launchers = {
            name: getattr(setting.module(f"sampling/{name}.cu"), name) for name in native.RUNGS.values()
        }
        return Work(
            ours={name: filled(launch, limits, *arguments) for name, launch in launchers.items()},
            peers=peers(setting, logits, top_p, top_k),
            wanted=lambda: kept,
            clear=limits.zero_,
            of_ours=lambda limits: native.kept_by(limits, logits, wishes),
            of_peers=lambda tokens: kept if kept.gather(1, tokens.view(-1, 1).long()).all() else ~kept,
        )

    title = f"sampling, {batch} x {vocabulary}, " + (f"top-k {top_k} and top-p" if top_k > 0 else "top-p")
    return Case(title, make, Cost(bytes=batch * vocabulary * 4, flops=0), ceiling="read", launch_bound=True)


def by_sorting(logits: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The set that top-k and top-p keep, bool like `logits`, and the top_p of each row, `[batch]` float64.

    Each top_p is `TOP_P`, moved into the middle between two running sums, so that no rounding decides about the set.
    """
    distances = (logits.amax(-1, keepdim=True) - logits) / TEMPERATURE
    weights, ids = (-distances).double().exp().sort(dim=-1, descending=True, stable=True)
    if top_k > 0:
        weights[:, top_k:] = 0
    sums = weights.cumsum(-1) / weights.sum(-1, keepdim=True)
    place = (sums < TOP_P).sum(-1, keepdim=True).clamp_min(1)  # of the token that crosses TOP_P
    top_p = (sums.gather(1, place - 1) + sums.gather(1, place)) / 2
    kept = torch.arange(logits.shape[-1], device=logits.device) <= place
    return torch.zeros_like(kept.expand_as(logits)).scatter(1, ids, kept), top_p.view(-1)


def launch_arguments(logits: torch.Tensor, top_p: torch.Tensor, top_k: int) -> tuple[list, torch.Tensor]:
    """What every rung takes, all on the device already, and the tensor that gets the limit of each row's set."""
    batch, vocabulary = logits.shape
    tokens, limits = (torch.zeros(batch, dtype=torch.int64, device=logits.device) for _ in range(2))

    def each(value: float, dtype: torch.dtype) -> torch.Tensor:
        return torch.full((batch,), value, dtype=dtype, device=logits.device)

    uniforms = torch.rand(batch, dtype=torch.float64, device=logits.device)
    filters = [
        each(TEMPERATURE, torch.float32),
        each(top_k, torch.int32),
        top_p,
        each(torch.inf, torch.float32),
    ]
    return [
        *(logits, *filters, uniforms, None, None, tokens, limits),
        *(batch, vocabulary, DTYPES[logits.dtype]),
    ], limits


def peers(setting: Setting, logits: torch.Tensor, top_p: torch.Tensor, top_k: int) -> dict[str, Call]:
    """The usual way, with torch's sort; where top-k comes first, also with `topk` in the place of the sort."""

    def sample(largest) -> torch.Tensor:
        weights, ids = largest((logits / TEMPERATURE).softmax(-1))
        if top_k > 0:
            weights = weights[:, :top_k] / weights[:, :top_k].sum(-1, keepdim=True)
        weights = weights.masked_fill(weights.cumsum(-1) - weights >= top_p[:, None], 0)
        return ids.gather(1, torch.multinomial(weights, 1))

    found: dict[str, Call] = {"torch.sort": lambda: sample(functools.partial(torch.sort, descending=True))}
    if top_k > 0:
        found["torch.topk"] = lambda: sample(functools.partial(torch.topk, k=top_k))
    if setting.real and setting.peers and (flashinfer := package("flashinfer")):
        found[f"flashinfer {flashinfer.__version__}"] = functools.partial(
            _flashinfer, flashinfer.sampling, logits, top_p.float(), top_k
        )
    return found


def _flashinfer(sampling, logits: torch.Tensor, top_p: torch.Tensor, top_k: int) -> torch.Tensor:
    probabilities = (logits / TEMPERATURE).softmax(-1)
    if top_k < 1:
        return sampling.top_p_sampling_from_probs(probabilities, top_p)
    return sampling.top_k_top_p_sampling_from_probs(
        probabilities, top_k, top_p, filter_apply_order="top_k_first"
    )
