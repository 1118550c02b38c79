# expect: The dtype of the result is not that of `gate_up`.
import torch


def silu_mul(gate_up):
    gate, up = gate_up.to(torch.float32).chunk(2, dim=-1)
    return gate * gate.sigmoid() * up
