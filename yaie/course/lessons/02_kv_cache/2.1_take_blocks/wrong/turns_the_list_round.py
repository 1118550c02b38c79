# expect: number of entries of `free_block_list`
def _take_blocks(self, request_id, count):
    self._require_free(request_id, count)
    taken = self.free_block_list[::-1][:count]
    self.free_block_list[:] = self.free_block_list[: len(self.free_block_list) - count]
    for b in taken:
        self.ref_counts[b] = 1
    return taken
