# expect: The host finds errors by the -1 there.
import torch


def take_known(token_ids, tokens):
    tokens.clamp_(min=0)
    return torch.where(token_ids < 0, tokens[(-1 - token_ids).clamp(min=0)], token_ids)
