import torch


def rms_norm(x, weight, eps):
    x32 = x.to(torch.float32)
    mean_square = (x32 * x32).sum(-1, keepdim=True) / x.shape[-1]
    return weight * (x32 * (mean_square + eps) ** -0.5).to(x.dtype)
