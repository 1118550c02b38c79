# expect: Cosine and sine were rounded to the dtype of `x`
import torch


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    out = torch.empty_like(x)
    c, s = cos.type_as(x), sin.type_as(x)
    out[..., :half] = x[..., :half] * c - x[..., half:] * s
    out[..., half:] = x[..., half:] * c + x[..., :half] * s
    return out
