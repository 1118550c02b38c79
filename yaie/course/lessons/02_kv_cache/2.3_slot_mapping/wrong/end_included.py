# expect: Position `end` was included.
def slot_mapping(self, request_id, start=0, end=None):
    table = self._table(request_id)
    n = self.context_lens[request_id]
    end = n if end is None else end
    if not 0 <= start <= end <= n:
        raise ValueError("not that")
    s = self.block_size
    return [table[p // s] * s + p % s for p in range(start, min(end + 1, n))]
