def rms_norm(x, weight, eps):
    wide = x.float()
    root = (wide.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    return (wide / root).to(x.dtype) * weight
