from yaie.kernels.kv_cache import _positive_int


def append_tokens(self, request_id, num_tokens=1):
    table = self._table(request_id)
    _positive_int("num_tokens", num_tokens)
    context_len = self.context_lens[request_id]
    num_new_blocks = self.blocks_needed(context_len + num_tokens) - len(table)
    copies_tail = context_len % self.block_size != 0 and self.ref_counts[table[-1]] > 1
    self._require_free(request_id, num_new_blocks + int(bool(copies_tail)))
    if copies_tail:
        self.copy_on_write(request_id, len(table) - 1)
    table.extend(self._take_blocks(request_id, num_new_blocks))
    self.context_lens[request_id] = context_len + num_tokens
    return self.slot_mapping(request_id, context_len)
