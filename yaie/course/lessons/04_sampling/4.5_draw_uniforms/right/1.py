import torch


def draw_uniforms(num_seqs, generator=None):
    if not isinstance(generator, (list, tuple)):
        generator = [generator] * num_seqs
    return torch.stack([torch.rand((), dtype=torch.float64, generator=g) for g in generator])
