def fork(self, parent_id, child_id):
    if parent_id not in self.block_tables:
        raise KeyError(parent_id)
    if child_id in self.block_tables:
        raise ValueError(child_id)
    child = []
    for block_id in self.block_tables[parent_id]:
        child.append(block_id)
        self.ref_counts[block_id] += 1
    self.block_tables[child_id] = child
    self.context_lens[child_id] = self.context_lens[parent_id]
    return child[:]
