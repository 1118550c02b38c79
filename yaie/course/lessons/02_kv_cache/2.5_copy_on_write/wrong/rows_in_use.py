# expect: Only the rows in use were copied.
def copy_on_write(self, request_id, block_index):
    table = self._table(request_id)
    shared = table[block_index]
    if self.ref_counts[shared] == 1:
        return shared
    (own,) = self._take_blocks(request_id, 1)
    n = self.context_lens[request_id] - block_index * self.block_size
    self.key_cache[:, own, :n] = self.key_cache[:, shared, :n]
    self.value_cache[:, own, :n] = self.value_cache[:, shared, :n]
    table[block_index] = own
    self.ref_counts[shared] -= 1
    return own
