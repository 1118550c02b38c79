# expect: The result is not a list.
import torch


def slot_mapping(self, request_id, start=0, end=None):
    table = torch.tensor(self._table(request_id))
    n = self.context_lens[request_id]
    end = n if end is None else end
    if not 0 <= start <= end <= n:
        raise ValueError("not that")
    p = torch.arange(start, end)
    return table[p // self.block_size] * self.block_size + p % self.block_size
