# expect: The whole pool was copied into new tensors.
def copy_on_write(self, request_id, block_index):
    table = self._table(request_id)
    shared = table[block_index]
    if self.ref_counts[shared] == 1:
        return shared
    (own,) = self._take_blocks(request_id, 1)
    self.key_cache = self.key_cache.clone()
    self.value_cache = self.value_cache.clone()
    self.key_cache[:, own] = self.key_cache[:, shared]
    self.value_cache[:, own] = self.value_cache[:, shared]
    table[block_index] = own
    self.ref_counts[shared] -= 1
    return own
