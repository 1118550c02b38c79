# expect: with one more axis in front
import torch


def rotate(x, cos, sin):
    n, h, d = x.shape
    a, b = x[:, :, : d // 2], x[:, :, d // 2 :]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)
