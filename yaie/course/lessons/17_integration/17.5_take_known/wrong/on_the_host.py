# expect: the host looked at one
import torch


def take_known(token_ids, tokens):
    given = tokens.tolist()
    known = [token if token >= 0 else max(0, given[-1 - token]) for token in token_ids.tolist()]
    return torch.tensor(known, device=token_ids.device)
