def publish(self, request):
    table = self.kv.block_tables[request.request_id]
    num_pages = request.num_computed_tokens // self.block_size
    done = self.cache.insert(request.token_ids[: num_pages * self.block_size].tolist(), list(table[:num_pages]))
    pages = self.cache.pages_to(done.node).tolist()
    self.kv.retain(pages[done.present // self.block_size :])
    self.cache.unlock(request.locked_node)
    self.cache.lock(done.node)
    if pages != table[: len(pages)]:
        freed = self.kv.replace_prefix(request.request_id, pages)
        self.num_duplicates = self.num_duplicates + len(freed)
    request.hold(done.node, len(pages) * self.block_size, request.num_computed_tokens)
