def slot_mapping(self, request_id, start=0, end=None):
    table = self._table(request_id)
    if end is None:
        end = self.context_lens[request_id]
    if start < 0 or end < start or end > self.context_lens[request_id]:
        raise ValueError("no such positions")
    slots = []
    for position in range(start, end):
        entry, row = divmod(position, self.block_size)
        slots.append(table[entry] * self.block_size + row)
    return slots
