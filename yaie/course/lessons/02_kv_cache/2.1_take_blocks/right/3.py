def _take_blocks(self, request_id, count):
    self._require_free(request_id, count)

    def take_one():
        block_id = self.free_block_list.pop(-1)
        self.ref_counts[block_id] = 1
        return block_id

    return list(take_one() for _ in range(count))
