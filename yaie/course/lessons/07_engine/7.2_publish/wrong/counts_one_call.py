# expect: counts the pages of all calls
def publish(self, request):
    size, table = self.block_size, self.kv.block_tables[request.request_id]
    n = request.num_computed_tokens // size
    present, length, node = self.cache.insert(request.token_ids[: n * size], table[:n])
    self.kv.retain(table[present // size : length // size])
    self.cache.lock(node)
    self.cache.unlock(request.locked_node)
    if present > request.num_published_tokens:
        self.num_duplicates = len(self.kv.replace_prefix(request.request_id, self.cache.pages_to(node).tolist()))
    request.hold(node, length, request.num_computed_tokens)
