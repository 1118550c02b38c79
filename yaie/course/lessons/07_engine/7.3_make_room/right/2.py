def make_room(self, num_pages):
    missing = max(0, num_pages - self.kv.num_free_blocks)
    enough = missing * self.block_size <= self.cache.evictable_size
    if missing and enough:
        pages = {slot // self.block_size for slot in self.cache.evict(missing * self.block_size).tolist()}
        self.kv.release(pages)
        self.num_evicted += len(pages)
    return enough
