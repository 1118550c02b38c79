# expect: bfloat16
import torch


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    y = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return y.half() if x.dtype != torch.float32 else y
