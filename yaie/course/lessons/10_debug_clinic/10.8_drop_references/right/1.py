def _drop_references(self, block_ids):
    freed = []
    for block_id in block_ids:
        self.ref_counts[block_id] -= 1
    for block_id in block_ids:
        if not self.ref_counts[block_id] and block_id not in freed:
            freed.append(block_id)
    self.free_block_list += freed[::-1]
    return freed
