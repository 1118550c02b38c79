def reuse(self, request):
    length, pages, node = self.cache.match(request.token_ids[: request.num_tokens - 1])
    self.cache.lock(node)
    request.hold(node, length, length)
    return [int(page) for page in pages]
