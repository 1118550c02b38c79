from yaie.kernels import kv_cache


def copy_on_write(self, request_id, block_index):
    table = self.block_tables[request_id]
    shared = table[block_index]
    if self.ref_counts[shared] < 2:
        return shared
    if not self.free_block_list:
        raise kv_cache.OutOfBlocksError(request_id, 1, 0)
    private = self.free_block_list.pop()
    self.ref_counts[private] = 1
    self.ref_counts[shared] = self.ref_counts[shared] - 1
    self.key_cache[:, private].copy_(self.key_cache[:, shared])
    self.value_cache[:, private].copy_(self.value_cache[:, shared])
    self.block_tables[request_id][block_index] = private
    return private
