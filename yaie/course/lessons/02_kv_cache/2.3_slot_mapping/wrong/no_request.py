# expect: answer to a request without blocks
def slot_mapping(self, request_id, start=0, end=None):
    table = self.block_tables.get(request_id, [])
    n = self.context_lens.get(request_id, 0)
    end = n if end is None else end
    if not 0 <= start <= end <= n:
        raise ValueError("not that")
    s = self.block_size
    return [table[p // s] * s + p % s for p in range(start, end)]
