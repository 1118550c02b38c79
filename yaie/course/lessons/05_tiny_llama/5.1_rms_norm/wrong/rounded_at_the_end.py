# expect: The row was rounded after the weight.
import torch


def rms_norm(x, weight, eps):
    root = torch.sqrt(x.float().pow(2).mean(dim=-1, keepdim=True) + eps)
    return (x.float() / root * weight.float()).to(x.dtype)
