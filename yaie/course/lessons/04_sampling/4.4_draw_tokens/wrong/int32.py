# expect: dtype of the tokens
import torch


def draw_tokens(probs, uniforms):
    ends = probs.double().cumsum(dim=-1)
    return torch.searchsorted(ends, uniforms[:, None] * ends[:, -1:], right=True, out_int32=True).squeeze(-1)
