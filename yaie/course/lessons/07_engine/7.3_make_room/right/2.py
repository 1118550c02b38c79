def make_room(self, num_pages):
    missing = max(0, num_pages - self.kv.num_free_blocks)
    enough = missing <= self.cache.evictable_size
    if missing and enough:
        before = self.kv.num_free_blocks
        self.kv.release(self.cache.evict(missing).tolist())
        self.num_evicted += self.kv.num_free_blocks - before
    return enough
