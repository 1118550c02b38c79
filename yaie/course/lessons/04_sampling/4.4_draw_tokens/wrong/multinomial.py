# expect: list of tokens drawn
import torch


def draw_tokens(probs, uniforms):
    return torch.multinomial(probs, 1).squeeze(-1)
