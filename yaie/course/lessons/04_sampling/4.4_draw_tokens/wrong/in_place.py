# expect: The caller's probabilities were changed
import torch


def draw_tokens(probs, uniforms):
    probs /= probs.sum(-1, keepdim=True)
    ends = probs.double().cumsum(-1)
    return torch.searchsorted(ends, uniforms[:, None] * ends[:, -1:], right=True).squeeze(-1)
