from yaie.kernels.kv_cache import _positive_int


def allocate_blocks(self, request_id, num_tokens, prefix_blocks=()):
    if request_id in self.context_lens:
        raise ValueError(f"{request_id} has blocks")
    _positive_int("num_tokens", num_tokens)
    self._check_prefix(prefix_blocks, num_tokens)
    fresh = self._take_blocks(request_id, self.blocks_needed(num_tokens - len(prefix_blocks) * self.block_size))
    for shared in prefix_blocks:
        self.ref_counts[shared] = self.ref_counts[shared] + 1
    self.context_lens[request_id] = num_tokens
    self.block_tables[request_id] = list(prefix_blocks) + fresh
    return list(prefix_blocks) + fresh
