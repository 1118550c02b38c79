# expect: free list
def _drop_references(self, block_ids):
    for block_id in block_ids:
        self.ref_counts[block_id] -= 1
    freed = [block_id for block_id in dict.fromkeys(block_ids) if self.ref_counts[block_id] < 0]
    self.free_block_list.extend(reversed(freed))
    return freed
