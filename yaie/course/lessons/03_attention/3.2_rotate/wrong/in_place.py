# expect: argument `x` after the call
def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    old = a.clone()
    a.mul_(cos).sub_(b * sin)
    b.mul_(cos).add_(old * sin)
    return x
