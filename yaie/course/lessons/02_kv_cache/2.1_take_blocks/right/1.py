from yaie.kernels import kv_cache


def _take_blocks(self, request_id, count):
    if count > len(self.free_block_list):
        raise kv_cache.OutOfBlocksError(request_id, count, len(self.free_block_list))
    taken = []
    while len(taken) < count:
        block_id = self.free_block_list.pop()
        self.ref_counts[block_id] = 1
        taken.append(block_id)
    return taken
