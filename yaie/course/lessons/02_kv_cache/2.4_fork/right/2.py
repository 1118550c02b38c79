def fork(self, parent_id, child_id):
    blocks = tuple(self._table(parent_id))
    if child_id in self.context_lens:
        raise ValueError(child_id)
    for index in range(len(blocks)):
        self.ref_counts[blocks[index]] += 1
    self.block_tables.update({child_id: [*blocks]})
    self.context_lens.update({child_id: self.context_lens[parent_id]})
    return [*blocks]
