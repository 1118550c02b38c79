def make_room(self, num_pages):
    if num_pages > self.num_available:
        return False
    while self.kv.num_free_blocks < num_pages:
        for page in self.cache.evict(1).tolist():
            self.kv.release([page])
            self.num_evicted += 1
    return True
