def copy_on_write(self, request_id, block_index):
    table = self._table(request_id)
    old = table[block_index]
    if self.ref_counts[old] > 1:
        new = self._take_blocks(request_id, 1)[0]
        for cache in (self.key_cache, self.value_cache):
            cache[:, new] = cache[:, old]
        self.ref_counts[old] -= 1
        table[block_index] = new
    return table[block_index]
