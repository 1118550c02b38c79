import torch


def draw_uniforms(num_seqs, generator=None):
    shared = generator is None or isinstance(generator, torch.Generator)
    numbers = torch.empty(num_seqs, dtype=torch.float64)
    for row in range(num_seqs):
        numbers[row].uniform_(generator=generator if shared else generator[row])
    return numbers
