def allocate_blocks(self, request_id, num_tokens, prefix_blocks=()):
    if not isinstance(num_tokens, int) or num_tokens < 1 or request_id in self.block_tables:
        raise ValueError("a new request with at least one token, please")
    self._check_prefix(prefix_blocks, num_tokens)
    table = []
    table.extend(prefix_blocks)
    table.extend(self._take_blocks(request_id, self.blocks_needed(num_tokens) - len(table)))
    for block_id in table[: len(prefix_blocks)]:
        self.ref_counts[block_id] += 1
    self.block_tables[request_id], self.context_lens[request_id] = table, num_tokens
    return table.copy()
