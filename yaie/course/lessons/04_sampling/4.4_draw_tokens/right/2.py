import torch


def draw_tokens(probs, uniforms):
    ends = probs.to(torch.float64).cumsum(dim=1)
    target = uniforms.unsqueeze(1) * ends[:, -1].unsqueeze(1)
    return (ends <= target).sum(dim=1)
