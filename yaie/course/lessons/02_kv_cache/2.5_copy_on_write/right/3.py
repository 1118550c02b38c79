def copy_on_write(self, request_id, block_index):
    shared = self._table(request_id)[block_index]
    if self.ref_counts[shared] != 1:
        [private] = self._take_blocks(request_id, 1)
        for layer in range(self.num_layers):
            self.key_cache[layer, private] = self.key_cache[layer, shared].clone()
            self.value_cache[layer, private] = self.value_cache[layer, shared].clone()
        self.block_tables[request_id][block_index], self.ref_counts[shared] = private, self.ref_counts[shared] - 1
        return private
    return shared
