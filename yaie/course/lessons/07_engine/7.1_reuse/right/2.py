def reuse(self, request):
    tokens = list(request.token_ids)
    tokens.pop()
    hit = self.cache.match(tokens)
    found = len(hit.pages) * self.block_size
    request.hold(node=hit.node, num_published=found, num_computed=found)
    self.cache.lock(request.locked_node)
    return list(map(int, hit.pages))
