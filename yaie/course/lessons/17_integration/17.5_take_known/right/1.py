import torch


def take_known(token_ids, tokens):
    is_place = token_ids < 0
    places = torch.where(is_place, -1 - token_ids, 0)
    return torch.where(is_place, tokens.clamp(min=0)[places], token_ids)
