def make_room(self, num_pages):
    if num_pages > self.num_available:
        return False
    while self.kv.num_free_blocks < num_pages:
        slots = self.cache.evict((num_pages - self.kv.num_free_blocks) * self.block_size).tolist()
        for start in range(0, len(slots), self.block_size):
            self.kv.release([slots[start] // self.block_size])
            self.num_evicted += 1
    return True
