def publish(self, request):
    size = self.block_size
    whole = request.num_computed_tokens - request.num_computed_tokens % size
    own = self.kv.block_tables[request.request_id][: whole // size]
    present, length, node = self.cache.insert(request.token_ids[:whole], own)
    taken = [page for index, page in enumerate(own) if present <= index * size < length]
    self.kv.retain(taken)
    old, request.locked_node = request.locked_node, node
    self.cache.lock(request.locked_node)
    self.cache.unlock(old)
    if length:
        for _ in self.kv.replace_prefix(request.request_id, [int(page) for page in self.cache.pages_to(node)]):
            self.num_duplicates += 1
    request.num_published_tokens = length
