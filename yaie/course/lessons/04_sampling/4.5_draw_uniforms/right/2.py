import torch


def draw_uniforms(num_seqs, generator=None):
    if generator is None or isinstance(generator, torch.Generator):
        return torch.rand(num_seqs, dtype=torch.float64, generator=generator)
    return torch.cat([torch.rand(1, dtype=torch.float64, generator=g) for g in generator])
