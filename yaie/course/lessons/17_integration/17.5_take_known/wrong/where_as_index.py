# expect: the number of places that `where` finds in a mask
import torch


def take_known(token_ids: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    rows = torch.where(token_ids < 0)[0]
    return token_ids.index_put((rows,), tokens[-1 - token_ids[rows]].clamp(min=0))
