def reuse(self, request):
    hit = self.cache.match(request.token_ids[:-1])
    request.num_published_tokens, request.num_computed_tokens, request.locked_node = hit.length, hit.length, hit.node
    self.cache.lock(hit.node)
    return self.cache.pages_to(hit.node).tolist()
