def _drop_references(self, block_ids):
    unique = list(dict.fromkeys(block_ids))
    for block_id in block_ids:
        self.ref_counts[block_id] = self.ref_counts[block_id] - 1
    freed = [block_id for block_id in unique if self.ref_counts[block_id] == 0]
    self.free_block_list[len(self.free_block_list) :] = reversed(freed)
    return freed
