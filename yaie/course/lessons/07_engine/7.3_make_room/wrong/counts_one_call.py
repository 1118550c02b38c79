# expect: counts the pages of all calls
def make_room(self, num_pages):
    missing = num_pages - self.kv.num_free_blocks
    if missing <= 0:
        return True
    if missing > self.cache.evictable_size:
        return False
    pages = self.cache.evict(missing).tolist()
    self.kv.release(pages)
    self.num_evicted = len(pages)
    return True
