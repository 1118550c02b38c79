# expect: slot_mapping("A", 0, 0), block_size=4, table [7, 2], 6 tokens
def slot_mapping(self, request_id, start=0, end=None):
    table = self._table(request_id)
    end = end or self.context_lens[request_id]  # 0 is an end, too
    if not 0 <= start <= end <= self.context_lens[request_id]:
        raise ValueError("no such positions")
    return [table[p // self.block_size] * self.block_size + p % self.block_size for p in range(start, end)]
