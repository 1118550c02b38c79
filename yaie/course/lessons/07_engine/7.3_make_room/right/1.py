def make_room(self, num_pages):
    if num_pages <= self.kv.num_free_blocks:
        return True
    if num_pages > self.num_available:
        return False
    slots = self.cache.evict((num_pages - self.kv.num_free_blocks) * self.block_size)
    pages = [int(slot) // self.block_size for slot in slots[:: self.block_size]]
    self.kv.release(pages)
    self.num_evicted += len(pages)
    return True
