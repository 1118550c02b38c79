"""Choosing the next token of every row.

The kernels do temperature, top-k, top-p, min-p and the draw in one launch and without a sort, and keep exactly the
tokens that sorting would keep: among equal logits the lower id goes first. Penalties need the tokens of each request so
far; torch applies them before the launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from yaie.kernels import sampling
from yaie.kernels.checks import integers, require
from yaie.kernels.ops.checks import Backend, checked, run
from yaie.kernels.ops.launching import BackendError, Family, Launching, named_as_file
from yaie.kernels.sampling import Draws, Generators, Parameter, Settings

__all__ = ["sample"]

LARGEST_VOCABULARY = 2**22  # as in csrc/sampling/row.cuh


class Torch(Family):
    def sample(
        self,
        logits: Tensor,
        temperature: Parameter = 1.0,
        top_p: Parameter = 1.0,
        top_k: int | Sequence[int] | Tensor = -1,
        generator: Generators = None,
        *,
        seeds: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
        **more: Any,
    ) -> Tensor:
        """Draw one token per row; every row draws one number, whatever its temperature.

        Args:
            logits, temperature, top_p, top_k, generator, more: as for `SamplingKernel.sample`.
            seeds, steps: instead of generators, `[num_seqs]` each, from 0 to 2**63 - 1. Row `i` takes number `steps[i]`
                of the sequence that belongs to `seeds[i]` (`sampling.counter_uniforms`). Nothing has a state, so a
                kernel makes the numbers itself.

        Returns:
            Token ids `[num_seqs]`, int64, on the device of logits: the same from every backend, but for a draw that
            falls within rounding (about 1e-6 of the probability) between two tokens. A row with NaN, +inf or nothing
            but -inf gives a number of no meaning, which may be -1.
        """
        rows, settings = sampling.prepare(logits, temperature, top_p, top_k, **more)
        if seeds is None:
            uniforms = sampling.draw_uniforms(len(rows), generator)
        else:
            uniforms = sampling.counter_uniforms(seeds, steps)
        tokens = sampling.draw_tokens(sampling.filtered_probabilities(rows.float(), settings), uniforms)
        return tokens.masked_fill_(tokens == rows.shape[1], -1).view(logits.shape[:-1])

    def choose(self, logits: Tensor, draws: Draws, num_tokens: Tensor) -> Tensor:
        """The next token of every row, without a wait: ids `[num_seqs]`, int64, on the device.

        Args:
            logits: `[num_seqs, vocab_size]`.
            draws: how each row's token is chosen; at temperature 0 it is the most likely one.
            num_tokens: `[num_seqs]`, int64, on the device: how many tokens a row has, the prompt included.

        Returns:
            As `sample`, but -1 for every row with NaN, +inf or nothing but -inf.
        """
        largest, tokens = logits.max(dim=-1)
        if draws.drawn:
            probs = sampling.filtered_probabilities(logits[draws.rows].float(), draws.of_drawn)
            uniforms = sampling.counter_uniforms(draws.seeds, num_tokens - draws.firsts)[draws.rows]
            drawn = sampling.draw_tokens(probs, uniforms)
            tokens[draws.rows] = drawn.masked_fill_(drawn == logits.shape[1], -1)
        return tokens.where(largest - largest == 0, -1)  # NaN where it is not finite


class Kernels(Launching):
    RUNGS = {
        "sample": {
            1: named_as_file("sampling/sample_1_search"),
            2: named_as_file("sampling/sample_2_radix"),
            3: named_as_file("sampling/sample_3_list"),
        }
    }
    STEP_FILES = (RUNGS["sample"][3][0],)

    def sample(self, logits, temperature=1.0, top_p=1.0, top_k=-1, generator=None, *, seeds=None, steps=None, **more):
        rows, settings = sampling.prepare(logits, temperature, top_p, top_k, **more)
        uniforms = sampling.draw_uniforms(len(rows), generator) if seeds is None else None
        return self.sample_rows(rows, settings, uniforms, seeds, steps).view(logits.shape[:-1])

    def sample_rows(
        self,
        rows: Tensor,
        settings: Settings,
        uniforms: Tensor | None,
        seeds: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
        limits: Tensor | None = None,
    ) -> Tensor:
        """One launch: tokens `[num_seqs]`, int64, with -1 for a row that has NaN, +inf or nothing but -inf.

        Args:
            rows: `[num_seqs, vocab_size]`; the kernels read float32, other dtypes are converted.
            uniforms: `[num_seqs]`, float64, from [0, 1), on any device; or None, and seeds and steps.
            limits: None, or `[num_seqs]` int64 to be filled with the limit of each row, see csrc/sampling/row.cuh.
        """

        def on_device(values: Any, dtype: torch.dtype) -> Tensor | None:
            return None if values is None else torch.as_tensor(values, dtype=dtype).to(rows.device, non_blocking=True)

        numbers = on_device(uniforms, torch.float64), on_device(seeds, torch.int64), on_device(steps, torch.int64)
        return self._draw(rows, *sampling.for_kernels(settings, rows.device), *numbers, limits)

    def choose(self, logits: Tensor, draws: Draws, num_tokens: Tensor) -> Tensor:
        return self._draw(logits, *draws.parameters, None, draws.seeds, num_tokens - draws.firsts, None)

    def _draw(self, rows: Tensor, *parameters: Tensor | None) -> Tensor:
        """The launch itself: parameters, numbers and limits as the launcher takes them, on the device."""
        num_seqs, vocab_size = rows.shape
        if vocab_size > LARGEST_VOCABULARY:
            raise BackendError(f"sampling takes up to {LARGEST_VOCABULARY} logits in a row, not {vocab_size}")
        rows, (*before, limits) = rows.float().contiguous(), parameters
        tokens = torch.empty(num_seqs, dtype=torch.int64, device=rows.device)
        self.launch[self.chosen["sample"]](rows, *before, tokens, limits, num_seqs, vocab_size)
        return tokens


@checked(Torch)
def sample(
    logits: Tensor,
    temperature: Parameter = 1.0,
    top_p: Parameter = 1.0,
    top_k: int | Sequence[int] | Tensor = -1,
    generator: Generators = None,
    *,
    seeds: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    backend: Backend = "auto",
    **more: Any,
) -> Tensor:
    """Here bad values and rows with NaN, +inf or nothing but -inf raise a ValueError that names the row."""
    rows, settings = sampling.checked(logits, temperature, top_p, top_k, **more)
    if seeds is None and steps is None:
        sampling.check_generators(generator, len(rows))
    else:
        one_way = generator is None and seeds is not None and steps is not None
        require(one_way, "give a generator, or seeds and steps, and not both")
        seeds, steps = integers("seeds", seeds, len(rows)), integers("steps", steps, len(rows))
    how = {"generator": generator, "min_p": settings.min_p, "seeds": seeds, "steps": steps}
    return run(backend, "sample", rows, rows, *settings[:3], **how).view(logits.shape[:-1])
