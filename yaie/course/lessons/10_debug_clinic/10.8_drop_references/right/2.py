from collections import Counter


def _drop_references(self, block_ids):
    freed = []
    for block_id, count in Counter(block_ids).items():
        self.ref_counts[block_id] -= count
        if self.ref_counts[block_id] < 1:
            freed.append(block_id)
    for block_id in reversed(freed):
        self.free_block_list.append(block_id)
    return freed
