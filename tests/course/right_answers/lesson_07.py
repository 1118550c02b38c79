"""Three differently written right answers for each exercise of lesson 07."""

ANSWERS = {
    "7.1": (
        """
def reuse(self, request):
    length, slots, node = self.cache.match(request.token_ids[: request.num_tokens - 1])
    self.cache.lock(node)
    request.locked_node = node
    request.num_published_tokens = length
    request.num_computed_tokens = length
    return [int(slot) // self.block_size for slot in slots[:: self.block_size]]
""",
        """
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
""",
        """
def reuse(self, request):
    hit = self.cache.match(request.token_ids[:-1])
    request.num_published_tokens, request.num_computed_tokens, request.locked_node = hit.length, hit.length, hit.node
    self.cache.lock(hit.node)
    return list(dict.fromkeys((hit.slots // self.kv.block_size).tolist()))
""",
    ),
    "7.2": (
        """
def publish(self, request):
    tokens, slots = self.computed_pages(request)
    present = self.cache.insert(tokens, slots)
    table = self.kv.block_tables[request.request_id]
    self.kv.retain(table[present // self.block_size : len(tokens) // self.block_size])
    length, slots, node = self.cache.match(tokens)
    self.cache.lock(node)
    self.cache.unlock(request.locked_node)
    freed = self.kv.replace_prefix(request.request_id, [int(s) // self.block_size for s in slots[:: self.block_size]])
    self.num_duplicates += len(freed)
    request.locked_node = node
    request.num_published_tokens = length
""",
        """
def publish(self, request):
    size = self.block_size
    tokens, slots = self.computed_pages(request)
    own = [int(slot) // size for slot in slots[::size]]
    present = self.cache.insert(tokens, slots) // size
    self.kv.retain(own[present:])
    whole = self.cache.match(tokens)
    old, request.locked_node = request.locked_node, whole.node
    self.cache.lock(request.locked_node)
    self.cache.unlock(old)
    for _ in self.kv.replace_prefix(request.request_id, (whole.slots[::size] // size).tolist()):
        self.num_duplicates += 1
    request.num_published_tokens = len(tokens)
""",
        """
def publish(self, request):
    tokens, slots = self.computed_pages(request)
    present = self.cache.insert(tokens, slots)
    self.kv.retain(sorted({slot // self.block_size for slot in slots[present:].tolist()}))
    whole = self.cache.match(tokens)
    self.cache.unlock(request.locked_node)
    self.cache.lock(whole.node)
    request.locked_node = whole.node
    request.num_published_tokens = whole.length
    pages = list(dict.fromkeys(slot // self.block_size for slot in whole.slots.tolist()))
    freed = self.kv.replace_prefix(request.request_id, pages)
    self.num_duplicates = self.num_duplicates + len(freed)
""",
    ),
    "7.3": (
        """
def make_room(self, num_pages):
    if num_pages <= self.kv.num_free_blocks:
        return True
    if num_pages > self.num_available:
        return False
    slots = self.cache.evict((num_pages - self.kv.num_free_blocks) * self.block_size)
    pages = [int(slot) // self.block_size for slot in slots[:: self.block_size]]
    self.kv.release(pages)
    self.num_evicted += len(pages)
    return True
""",
        """
def make_room(self, num_pages):
    missing = max(0, num_pages - self.kv.num_free_blocks)
    enough = missing * self.block_size <= self.cache.evictable_size
    if missing and enough:
        pages = {slot // self.block_size for slot in self.cache.evict(missing * self.block_size).tolist()}
        self.kv.release(pages)
        self.num_evicted += len(pages)
    return enough
""",
        """
def make_room(self, num_pages):
    if num_pages > self.num_available:
        return False
    while self.kv.num_free_blocks < num_pages:
        slots = self.cache.evict((num_pages - self.kv.num_free_blocks) * self.block_size).tolist()
        for start in range(0, len(slots), self.block_size):
            self.kv.release([slots[start] // self.block_size])
            self.num_evicted += 1
    return True
""",
    ),
}
