from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import sampling

from ..common import kind, random_logits


def check() -> None:
    for seeds in ([7], [7, 8], [8, 7], [1, 2, 3, 7, 5]):
        with given(f"draw_uniforms({len(seeds)}, [generators with the seeds {seeds}])"):
            torch.manual_seed(0)
            got = sampling.draw_uniforms(len(seeds), [torch.Generator().manual_seed(s) for s in seeds])
            expect(kind(got), "Tensor", "type of the result")
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
    with given("torch.manual_seed(8); draw_uniforms(3, [generator with the seed 7, None, None])"):
        torch.manual_seed(8)
        got = sampling.draw_uniforms(3, [torch.Generator().manual_seed(7), None, None])
        expect(got, torch.cat((_numbers(7, 1), _numbers(8, 2))), "list of numbers (None stands for torch's own)")
    _check_batch_mates()


def _numbers(seed: int, count: int) -> torch.Tensor:
    """The first numbers of a generator with that seed, drawn one by one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.rand((), dtype=torch.float64, generator=generator) for _ in range(count)])


def _check_batch_mates() -> None:
    """The tokens of one request through `SamplingKernel`, alone and in the middle of a changing batch."""
    kernel, logits = sampling.SamplingKernel(), random_logits(6, 50)
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
