def reuse(self, request):
    tokens = list(request.token_ids)
    tokens.pop()
    hit = self.cache.match(tokens)
    request.locked_node = hit.node
    self.cache.lock(request.locked_node)
    request.num_computed_tokens = len(hit.slots)
    request.num_published_tokens = len(hit.slots)
    pages = []
    for start in range(0, hit.length, self.block_size):
        pages.append(int(hit.slots[start]) // self.block_size)
    return pages
