def fork(self, parent_id, child_id):
    if child_id in self.block_tables:
        raise ValueError("the child has blocks")
    self.block_tables[child_id] = self._table(parent_id).copy()
    self.context_lens[child_id] = self.context_lens[parent_id]
    for block_id in self.block_tables[child_id]:
        self.ref_counts[block_id] = self.ref_counts[block_id] + 1
    return self.block_tables[child_id].copy()
