import torch


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, dim=-1)
    turned = torch.complex(a, b) * torch.complex(cos.float(), sin.float())
    return torch.cat((turned.real, turned.imag), dim=-1).to(x.dtype)
