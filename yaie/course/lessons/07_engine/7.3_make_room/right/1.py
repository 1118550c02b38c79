def make_room(self, num_pages):
    if num_pages <= self.kv.num_free_blocks:
        return True
    if num_pages > self.num_available:
        return False
    pages = [int(page) for page in self.cache.evict(num_pages - self.kv.num_free_blocks)]
    self.kv.release(pages)
    self.num_evicted += len(pages)
    return True
