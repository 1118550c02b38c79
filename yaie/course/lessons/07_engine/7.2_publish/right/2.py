def publish(self, request):
    size = self.block_size
    tokens, slots = self.computed_pages(request)
    own = [int(slot) // size for slot in slots[::size]]
    present = self.cache.insert(tokens, slots) // size
    self.kv.retain(own[present:])
    whole = self.cache.match(tokens)
    old, request.locked_node = request.locked_node, whole.node
    self.cache.lock(request.locked_node)
    self.cache.unlock(old)
    for _ in self.kv.replace_prefix(request.request_id, (whole.slots[::size] // size).tolist()):
        self.num_duplicates += 1
    request.num_published_tokens = len(tokens)
