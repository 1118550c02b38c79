# expect: The root was rounded before the division.
import torch


def rms_norm(x, weight, eps):
    s = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps).to(x.dtype)
    return x * s * weight
