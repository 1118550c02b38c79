# expect: inf / inf is NaN
def silu_mul(gate_up):
    x = gate_up
    g, u = x.chunk(2, dim=-1)
    return g * g.exp() / (1 + g.exp()) * u
