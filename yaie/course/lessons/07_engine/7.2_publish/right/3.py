def publish(self, request):
    tokens, slots = self.computed_pages(request)
    present = self.cache.insert(tokens, slots)
    self.kv.retain(sorted({slot // self.block_size for slot in slots[present:].tolist()}))
    whole = self.cache.match(tokens)
    self.cache.unlock(request.locked_node)
    self.cache.lock(whole.node)
    request.locked_node = whole.node
    request.num_published_tokens = whole.length
    pages = list(dict.fromkeys(slot // self.block_size for slot in whole.slots.tolist()))
    freed = self.kv.replace_prefix(request.request_id, pages)
    self.num_duplicates = self.num_duplicates + len(freed)
