# expect: A number of blocks was subtracted from a number of tokens.
from yaie.kernels.kv_cache import _positive_int


def allocate_blocks(self, request_id, num_tokens, prefix_blocks=()):
    if request_id in self.block_tables:
        raise ValueError("not that")
    _positive_int("num_tokens", num_tokens)
    self._check_prefix(prefix_blocks, num_tokens)
    new = self._take_blocks(request_id, self.blocks_needed(num_tokens - len(prefix_blocks)))
    table = [*prefix_blocks, *new]
    for b in prefix_blocks:
        self.ref_counts[b] += 1
    self.block_tables[request_id] = table
    self.context_lens[request_id] = num_tokens
    return list(table)
