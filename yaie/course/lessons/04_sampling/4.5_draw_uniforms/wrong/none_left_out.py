# expect: A row whose generator is None got no number.
import torch


def draw_uniforms(num_seqs, generator=None):
    if not isinstance(generator, list):
        generator = [generator] * num_seqs
    return torch.tensor(
        [torch.rand((), dtype=torch.float64, generator=g) for g in generator if g is not None], dtype=torch.float64
    )
