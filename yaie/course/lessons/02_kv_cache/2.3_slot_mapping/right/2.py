def slot_mapping(self, request_id, start=0, end=None):
    length = self.context_lens[request_id]
    end = length if end is None else end
    if not (0 <= start <= end and end <= length):
        raise ValueError("no such positions")
    size = self.block_size
    every = [block_id * size + row for block_id in self.block_tables[request_id] for row in range(size)]
    return every[start:end]
