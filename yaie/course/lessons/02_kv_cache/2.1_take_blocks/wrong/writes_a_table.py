# expect: A block table was written.
def _take_blocks(self, request_id, count):
    self._require_free(request_id, count)
    taken = [self.free_block_list.pop() for _ in range(count)]
    for b in taken:
        self.ref_counts[b] = 1
    self.block_tables[request_id] = list(taken)
    return taken
