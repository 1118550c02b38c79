def publish(self, request):
    tokens, slots = self.computed_pages(request)
    present = self.cache.insert(tokens, slots)
    table = self.kv.block_tables[request.request_id]
    self.kv.retain(table[present // self.block_size : len(tokens) // self.block_size])
    length, slots, node = self.cache.match(tokens)
    self.cache.lock(node)
    self.cache.unlock(request.locked_node)
    freed = self.kv.replace_prefix(request.request_id, [int(s) // self.block_size for s in slots[:: self.block_size]])
    self.num_duplicates += len(freed)
    request.locked_node = node
    request.num_published_tokens = length
