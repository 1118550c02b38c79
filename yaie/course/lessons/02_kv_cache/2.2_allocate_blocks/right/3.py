from yaie.kernels import kv_cache
from yaie.kernels.kv_cache import _positive_int


def allocate_blocks(self, request_id, num_tokens, prefix_blocks=()):
    _positive_int("num_tokens", num_tokens)
    self._check_prefix(prefix_blocks, num_tokens)
    if self.block_tables.get(request_id) is not None:
        raise ValueError("this request has blocks already")
    needed = -(-num_tokens // self.block_size) - len(prefix_blocks)
    if needed > len(self.free_block_list):
        raise kv_cache.OutOfBlocksError(request_id, needed, len(self.free_block_list))
    table = [*prefix_blocks, *(self.free_block_list.pop() for _ in range(needed))]
    for block_id in table:
        self.ref_counts[block_id] += 1
    self.block_tables[request_id] = table
    self.context_lens[request_id] = num_tokens
    return table[:]
