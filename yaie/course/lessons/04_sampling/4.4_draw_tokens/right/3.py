import torch


def draw_tokens(probs, uniforms):
    tokens = []
    for row, u in zip(probs.tolist(), uniforms.tolist()):
        target, end = u * sum(row), 0.0
        for token, p in enumerate(row):
            end += p
            if target < end:
                break
        tokens.append(token)
    return torch.tensor(tokens)
