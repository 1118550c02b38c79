def reuse(self, request):
    length, slots, node = self.cache.match(request.token_ids[: request.num_tokens - 1])
    self.cache.lock(node)
    request.locked_node = node
    request.num_published_tokens = length
    request.num_computed_tokens = length
    return [int(slot) // self.block_size for slot in slots[:: self.block_size]]
