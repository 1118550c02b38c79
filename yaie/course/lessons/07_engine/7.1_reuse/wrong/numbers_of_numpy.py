# expect: types: a list, of ints
def reuse(self, request):
    hit = self.cache.match(request.token_ids[:-1])
    self.cache.lock(hit.node)
    request.hold(hit.node, hit.length, hit.length)
    return list(hit.pages)
