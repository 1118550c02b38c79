def publish(self, request):
    size, name = self.block_size, request.request_id
    num_whole = request.num_computed_tokens // size
    done = self.cache.insert(request.token_ids[: num_whole * size], self.kv.block_tables[name][:num_whole])
    self.kv.retain(self.kv.block_tables[name][done.present // size : done.length // size])
    self.cache.lock(done.node)
    self.cache.unlock(request.locked_node)
    freed = self.kv.replace_prefix(name, self.cache.pages_to(done.node).tolist())
    self.num_duplicates += len(freed)
    request.hold(done.node, done.length, request.num_computed_tokens)
