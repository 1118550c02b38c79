# expect: The type of the result is wrong
import numpy as np


def slot_mapping(self, request_id, start=0, end=None):
    table = self._table(request_id)
    context_len = self.context_lens[request_id]
    end = context_len if end is None else end
    if not 0 <= start <= end <= context_len:
        raise ValueError(f"positions {start}..{end}")
    positions = np.arange(start, end)
    return np.array(table)[positions // self.block_size] * self.block_size + positions % self.block_size
