def slot_mapping(self, request_id, start=0, end=None):
    table = self._table(request_id)
    length = self.context_lens[request_id]
    if end is None:
        end = length
    if start not in range(length + 1) or end not in range(start, length + 1):
        raise ValueError(f"positions {start} to {end} of {length}")
    slots, row = [], start % self.block_size
    for block_id in table[start // self.block_size :]:
        first = block_id * self.block_size
        slots += range(first + row, first + self.block_size)
        row = 0
    return slots[: end - start]
