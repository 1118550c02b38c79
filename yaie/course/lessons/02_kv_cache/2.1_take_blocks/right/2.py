def _take_blocks(self, request_id, count):
    self._require_free(request_id, count)
    left = len(self.free_block_list) - count
    taken = self.free_block_list[left:]
    del self.free_block_list[left:]
    taken.reverse()
    for block_id in taken:
        self.ref_counts[block_id] += 1
    return taken
