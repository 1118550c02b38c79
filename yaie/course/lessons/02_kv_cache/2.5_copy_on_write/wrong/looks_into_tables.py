# expect: Other tables were searched for the block.
def copy_on_write(self, request_id, block_index):
    table = self._table(request_id)
    shared = table[block_index]
    if sum(shared in t for t in self.block_tables.values()) == 1:
        return shared
    (own,) = self._take_blocks(request_id, 1)
    self.key_cache[:, own] = self.key_cache[:, shared]
    self.value_cache[:, own] = self.value_cache[:, shared]
    table[block_index] = own
    self.ref_counts[shared] -= 1
    return own
