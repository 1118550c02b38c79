"""Sampling by the kernels of `csrc/sampling/`: temperature, top-k, top-p, min-p and the draw in one launch, no sort.

Penalties need the tokens of each request so far; they are applied by torch before the launch. Everything else of
`SamplingKernel.sample` is in the kernel, which keeps exactly the tokens that sorting would keep: among equal logits
the lower id goes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from yaie.kernels import sampling as twin
from yaie.kernels.backends import BackendError
from yaie.kernels.native import implements, learners_rung, module

RUNGS = {1: "sample_1_search", 2: "sample_2_radix", 3: "sample_3_list"}
LARGEST_VOCABULARY = 2**22  # as in csrc/sampling/row.cuh


@implements("sample")
def sample(
    backend,
    logits,
    temperature=1.0,
    top_p=1.0,
    top_k=-1,
    generator=None,
    *,
    seeds=None,
    steps=None,
    rung=None,
    check=False,
    **penalties,
):
    """One token per row, as `SamplingKernel.sample`. It looks at the result once, to name a row of no use."""
    rung = rung or learners_rung("sampling", RUNGS, max(RUNGS))
    if logits.shape[-1] > LARGEST_VOCABULARY:
        raise BackendError(f"sampling takes up to {LARGEST_VOCABULARY} logits in a row, not {logits.shape[-1]}")
    rows, settings = twin.prepare(logits, temperature, top_p, top_k, check_logits=False, **penalties)
    twin.check_generators(generator, len(rows))
    uniforms = None if seeds is not None else twin.draw_uniforms(len(rows), generator)
    tokens, _ = launch(backend, rows, settings, uniforms, seeds, steps, rung=rung, check=check)
    if len(rows) and int(tokens.min()) < 0:
        twin.check_rows(rows.float())
    return tokens.view(logits.shape[:-1])


def launch(
    backend: str,
    rows: torch.Tensor,
    settings: twin.Settings,
    uniforms: torch.Tensor | None,
    seeds: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    *,
    rung: int = 3,
    check: bool = False,
    with_limits: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Launch one rung, without a look at the result.

    Args:
        rows: `[num_seqs, vocab_size]`; the kernels read float32, other dtypes are converted.
        settings: from `sampling.prepare`.
        uniforms: `[num_seqs]`, float64, from [0, 1), on any device; or None, and seeds and steps.
        with_limits: also return the limit of each row, see `csrc/sampling/row.cuh`.

    Returns:
        Tokens `[num_seqs]`, int64, with -1 for a row that has NaN, +inf or nothing but -inf; and the limits.
    """
    rows = rows.float().contiguous()
    num_seqs, vocab_size = rows.shape

    def on_device(values, dtype):
        return torch.as_tensor(values, dtype=dtype).to(rows.device, non_blocking=True)

    tokens = torch.empty(num_seqs, dtype=torch.int64, device=rows.device)
    limits = torch.empty_like(tokens) if with_limits else None
    sampler = getattr(module(f"sampling/{RUNGS[rung]}.cu", backend, check=check), RUNGS[rung])
    sampler(
        rows,
        on_device(settings.temperature, torch.float32),
        on_device([min(k, vocab_size) for k in settings.top_k], torch.int32),
        on_device(settings.top_p, torch.float64),
        -on_device(settings.min_p, torch.float32).log(),
        None if uniforms is None else on_device(uniforms, torch.float64),
        None if seeds is None else on_device(seeds, torch.int64),
        None if steps is None else on_device(steps, torch.int64),
        tokens,
        limits,
        num_seqs,
        vocab_size,
    )
    return tokens, limits


def kept_by(limits: torch.Tensor, rows: torch.Tensor, settings: twin.Settings) -> torch.Tensor:
    """Which tokens lie up to the limit of their row, bool like `rows`: the order of row.cuh in torch."""
    rows = rows.float()
    temperature = torch.tensor(settings.temperature, device=rows.device)[:, None]
    distance = (rows.amax(dim=-1, keepdim=True) + 0.0 - rows) / temperature  # + 0.0 makes 0 of -0
    id_bits = max(1, (rows.shape[-1] - 1).bit_length())
    ids = torch.arange(rows.shape[-1], device=rows.device)
    order = distance.view(torch.int32).long() << id_bits | ids
    return order <= limits[:, None]
