# expect: one more reference
def reuse(self, request):
    hit = self.cache.match(request.token_ids[:-1])
    self.cache.lock(hit.node)
    request.hold(hit.node, hit.length, hit.length)
    pages = hit.pages.tolist()
    self.kv.retain(pages)
    return pages
