"""Choosing the next token of every row.

The kernels do temperature, top-k, top-p, min-p and the draw in one launch and without a sort. Penalties need the tokens
of each request so far; torch applies them before the launch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from yaie.kernels import sampling
from yaie.kernels.checks import integers, require
from yaie.kernels.ops.launching import DTYPES, Backend, BackendError, Family, Launching, checked, found, named_as_file
from yaie.kernels.sampling import Draws, Generators, Parameter, Settings

__all__ = ["sample"]

LARGEST_VOCABULARY = 2**22  # as in csrc/sampling/row.cuh


class Torch(Family):
    def sample(
        self,
        rows: Tensor,
        settings: Settings,
        uniforms: Tensor | None,
        seeds: Sequence[int] | None = None,
        steps: Sequence[int] | None = None,
    ) -> Tensor:
        """A token for each of `rows` `[num_seqs, vocab_size]`: `[num_seqs]`, int64. A row with NaN, +inf or nothing but
        -inf gives a number of no meaning, which may be -1.

        `uniforms`: `[num_seqs]`, float64, from [0, 1), on any device; None: those of `seeds` and `steps`.
        """
        uniforms = sampling.counter_uniforms(seeds, steps) if uniforms is None else uniforms
        tokens = sampling.draw_tokens(sampling.filtered_probabilities(rows.float(), settings), uniforms)
        return tokens.masked_fill_(tokens == rows.shape[1], -1)

    def choose(self, logits: Tensor, draws: Draws, num_tokens: Tensor) -> Tensor:
        """The next token of every row of logits `[num_seqs, vocab_size]`, of any dtype, without a wait: ids
        `[num_seqs]`, int64, on the device; -1 for every row with NaN, +inf or nothing but -inf.

        draws: how each row's token is chosen; at temperature 0 it is the most likely one
        num_tokens: `[num_seqs]`, int64, on the device: how many tokens a row has, the prompt included
        """
        logits = logits.float()
        largest, tokens = logits.max(dim=-1)
        if draws.drawn:
            uniforms = sampling.counter_uniforms(draws.seeds, num_tokens - draws.firsts)[draws.rows]
            tokens[draws.rows] = self.sample(logits[draws.rows], draws.of_drawn, uniforms)
        return tokens.masked_fill_(largest - largest != 0, -1)  # NaN where it is not finite


class Kernels(Launching):
    RUNGS = {
        "sample": {
            1: named_as_file("sampling/sample_1_search"),
            2: named_as_file("sampling/sample_2_radix"),
            3: named_as_file("sampling/sample_3_list"),
        }
    }
    STEP_FILES = (RUNGS["sample"][3][0],)

    def sample(self, rows, settings, uniforms, seeds=None, steps=None, limits=None):
        """`limits`: None, or `[num_seqs]` int64 to be filled with the limit of each row, see csrc/sampling/row.cuh."""

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
        *before, limits = parameters
        tokens = torch.empty(num_seqs, dtype=torch.int64, device=rows.device)
        (file, launcher), last = self.chosen["sample"], (num_seqs, vocab_size)
        if self.rungs["sample"] == 3 and rows.dtype.itemsize == 2:
            launcher, last = f"{launcher}_16_bit", (*last, DTYPES[rows.dtype])
        else:
            rows = rows.float()
        self.launch[file, launcher](rows.contiguous(), *before, tokens, limits, *last)
        return tokens


@checked(sampling.SamplingKernel)
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
    """The tokens are the same from every backend, but for a draw that falls within rounding (about 1e-6 of the
    probability) between two of them, and for tokens that reach top_p within rounding (50 of 100 equal ones and 0.5):
    there a backend may keep one more.

    seeds, steps: instead of generators, `[num_seqs]` each, from 0 to 2**63 - 1. Row `i` takes number `steps[i]` of the
    sequence that belongs to `seeds[i]` (`sampling.counter_uniforms`). Nothing has a state, so a kernel makes the
    numbers itself.
    """
    rows, settings = sampling.prepare(logits, temperature, top_p, top_k, **more)
    draw, uniforms = found(backend, "sample", rows), None
    if seeds is None and steps is None:
        sampling.check_generators(generator, len(rows))
        uniforms = sampling.draw_uniforms(len(rows), generator)
    else:
        one_way = generator is None and seeds is not None and steps is not None
        require(one_way, "give a generator, or seeds and steps, and not both")
        seeds, steps = integers("seeds", seeds, len(rows)), integers("steps", steps, len(rows))
    return draw(rows, settings, uniforms, seeds, steps).view(logits.shape[:-1])
