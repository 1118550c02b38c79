import torch


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    turned = torch.cat((-b, a), dim=-1)
    return (x * torch.cat((cos, cos), dim=-1) + turned * torch.cat((sin, sin), dim=-1)).to(x.dtype)
