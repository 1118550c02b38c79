import torch


def silu_mul(gate_up):
    pair = gate_up.unflatten(-1, (2, -1))
    gate = pair[..., 0, :]
    return pair[..., 1, :] * (gate / (1 + torch.exp(-gate)))
