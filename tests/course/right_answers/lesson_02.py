"""Three differently written right answers for each exercise of lesson 02."""

ANSWERS = {
    "2.1": (
        """
def _take_blocks(self, request_id, count):
    if count > len(self.free_block_list):
        raise kv_cache.OutOfBlocksError(request_id, count, len(self.free_block_list))
    taken = []
    while len(taken) < count:
        block_id = self.free_block_list.pop()
        self.ref_counts[block_id] = 1
        taken.append(block_id)
    return taken
""",
        """
def _take_blocks(self, request_id, count):
    self._require_free(request_id, count)
    left = len(self.free_block_list) - count
    taken = self.free_block_list[left:]
    del self.free_block_list[left:]
    taken.reverse()
    for block_id in taken:
        self.ref_counts[block_id] += 1
    return taken
""",
        """
def _take_blocks(self, request_id, count):
    self._require_free(request_id, count)

    def take_one():
        block_id = self.free_block_list.pop(-1)
        self.ref_counts[block_id] = 1
        return block_id

    return list(take_one() for _ in range(count))
""",
    ),
    "2.2": (
        """
def allocate_blocks(self, request_id, num_tokens, prefix_blocks=()):
    if request_id in self.context_lens:
        raise ValueError(f"{request_id} has blocks")
    _positive_int("num_tokens", num_tokens)
    self._check_prefix(prefix_blocks, num_tokens)
    fresh = self._take_blocks(request_id, self.blocks_needed(num_tokens - len(prefix_blocks) * self.block_size))
    for shared in prefix_blocks:
        self.ref_counts[shared] = self.ref_counts[shared] + 1
    self.context_lens[request_id] = num_tokens
    self.block_tables[request_id] = list(prefix_blocks) + fresh
    return list(prefix_blocks) + fresh
""",
        """
def allocate_blocks(self, request_id, num_tokens, prefix_blocks=()):
    if num_tokens < 1 or request_id in self.block_tables:
        raise ValueError("a new request with at least one token, please")
    self._check_prefix(prefix_blocks, num_tokens)
    table = []
    table.extend(prefix_blocks)
    table.extend(self._take_blocks(request_id, self.blocks_needed(num_tokens) - len(table)))
    for block_id in table[: len(prefix_blocks)]:
        self.ref_counts[block_id] += 1
    self.block_tables[request_id], self.context_lens[request_id] = table, num_tokens
    return table.copy()
""",
        """
def allocate_blocks(self, request_id, num_tokens, prefix_blocks=()):
    _positive_int("num_tokens", num_tokens)
    self._check_prefix(prefix_blocks, num_tokens)
    if self.block_tables.get(request_id) is not None:
        raise ValueError("this request has blocks already")
    needed = -(-num_tokens // self.block_size) - len(prefix_blocks)
    if needed > len(self.free_block_list):
        raise kv_cache.OutOfBlocksError(request_id, needed, len(self.free_block_list))
    table = [*prefix_blocks, *(self.free_block_list.pop() for _ in range(needed))]
    for block_id in table:
        self.ref_counts[block_id] += 1
    self.block_tables[request_id] = table
    self.context_lens[request_id] = num_tokens
    return table[:]
""",
    ),
    "2.3": (
        """
def slot_mapping(self, request_id, start=0, end=None):
    table = self._table(request_id)
    if end is None:
        end = self.context_lens[request_id]
    if start < 0 or end < start or end > self.context_lens[request_id]:
        raise ValueError("no such positions")
    slots = []
    for position in range(start, end):
        entry, row = divmod(position, self.block_size)
        slots.append(table[entry] * self.block_size + row)
    return slots
""",
        """
def slot_mapping(self, request_id, start=0, end=None):
    length = self.context_lens[request_id]
    end = length if end is None else end
    if not (0 <= start <= end and end <= length):
        raise ValueError("no such positions")
    size = self.block_size
    every = [block_id * size + row for block_id in self.block_tables[request_id] for row in range(size)]
    return every[start:end]
""",
        """
def slot_mapping(self, request_id, start=0, end=None):
    table = self._table(request_id)
    length = self.context_lens[request_id]
    if end is None:
        end = length
    if start not in range(length + 1) or end not in range(start, length + 1):
        raise ValueError(f"positions {start} to {end} of {length}")
    slots, row = [], start % self.block_size
    for block_id in table[start // self.block_size :]:
        first = block_id * self.block_size
        slots += range(first + row, first + self.block_size)
        row = 0
    return slots[: end - start]
""",
    ),
    "2.4": (
        """
def fork(self, parent_id, child_id):
    if child_id in self.block_tables:
        raise ValueError("the child has blocks")
    self.block_tables[child_id] = self._table(parent_id).copy()
    self.context_lens[child_id] = self.context_lens[parent_id]
    for block_id in self.block_tables[child_id]:
        self.ref_counts[block_id] = self.ref_counts[block_id] + 1
    return self.block_tables[child_id].copy()
""",
        """
def fork(self, parent_id, child_id):
    blocks = tuple(self._table(parent_id))
    if child_id in self.context_lens:
        raise ValueError(child_id)
    for index in range(len(blocks)):
        self.ref_counts[blocks[index]] += 1
    self.block_tables.update({child_id: [*blocks]})
    self.context_lens.update({child_id: self.context_lens[parent_id]})
    return [*blocks]
""",
        """
def fork(self, parent_id, child_id):
    if parent_id not in self.block_tables:
        raise KeyError(parent_id)
    if child_id in self.block_tables:
        raise ValueError(child_id)
    child = []
    for block_id in self.block_tables[parent_id]:
        child.append(block_id)
        self.ref_counts[block_id] += 1
    self.block_tables[child_id] = child
    self.context_lens[child_id] = self.context_lens[parent_id]
    return child[:]
""",
    ),
    "2.5": (
        """
def copy_on_write(self, request_id, block_index):
    table = self._table(request_id)
    old = table[block_index]
    if self.ref_counts[old] > 1:
        new = self._take_blocks(request_id, 1)[0]
        for cache in (self.key_cache, self.value_cache):
            cache[:, new] = cache[:, old]
        self.ref_counts[old] -= 1
        table[block_index] = new
    return table[block_index]
""",
        """
def copy_on_write(self, request_id, block_index):
    table = self.block_tables[request_id]
    shared = table[block_index]
    if self.ref_counts[shared] < 2:
        return shared
    if not self.free_block_list:
        raise kv_cache.OutOfBlocksError(request_id, 1, 0)
    private = self.free_block_list.pop()
    self.ref_counts[private] = 1
    self.ref_counts[shared] = self.ref_counts[shared] - 1
    self.key_cache[:, private].copy_(self.key_cache[:, shared])
    self.value_cache[:, private].copy_(self.value_cache[:, shared])
    self.block_tables[request_id][block_index] = private
    return private
""",
        """
def copy_on_write(self, request_id, block_index):
    shared = self._table(request_id)[block_index]
    if self.ref_counts[shared] != 1:
        [private] = self._take_blocks(request_id, 1)
        for layer in range(self.num_layers):
            self.key_cache[layer, private] = self.key_cache[layer, shared].clone()
            self.value_cache[layer, private] = self.value_cache[layer, shared].clone()
        self.block_tables[request_id][block_index], self.ref_counts[shared] = private, self.ref_counts[shared] - 1
        return private
    return shared
""",
    ),
}
