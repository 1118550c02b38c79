"""Three differently written right answers for each exercise of lesson 01."""

ANSWERS = {
    "1.1": (
        """
def match_prefix(root, tokens, page_size=1):
    node, matched = root, 0
    while True:
        child = node.children.get(first_page(tokens[matched:], page_size))
        if child is None:
            return Position(node, len(node.edge), matched)
        same = common_prefix_length(child.edge, tokens[matched:]) // page_size * page_size
        matched += same
        if same != len(child.edge):
            return Position(child, same, matched)
        node = child
""",
        """
def match_prefix(root, tokens, page_size=1):
    tokens = tokens.tolist()
    node, length = root, 0
    while tuple(tokens[length : length + page_size]) in node.children:
        node = node.children[tuple(tokens[length : length + page_size])]
        inside = 0
        for wanted, found in zip(node.edge.tolist(), tokens[length:]):
            if wanted != found:
                break
            inside += 1
        inside = inside - inside % page_size
        length += inside
        if inside < len(node.edge):
            return Position(node, inside, length)
    return Position(node, len(node.edge), length)
""",
        """
def match_prefix(root, tokens, page_size=1):
    def walk(node, rest, length):
        child = node.children.get(first_page(rest, page_size))
        if child is None:
            return Position(node, len(node.edge), length)
        inside = common_prefix_length(child.edge, rest)
        inside = (inside // page_size) * page_size
        if inside < len(child.edge):
            return Position(child, inside, length + inside)
        return walk(child, rest[inside:], length + inside)

    return walk(root, tokens, 0)
""",
    ),
    "1.2": (
        """
def split_node(node, length, page_size=1):
    parent = node.parent
    upper = Node(node.edge[:length], node.payload.split(length))
    upper.parent, upper.key = parent, node.key
    parent.children[upper.key] = upper
    node.edge = node.edge[length:]
    node.parent, node.key = upper, first_page(node.edge, page_size)
    upper.children = {node.key: node}
    return upper
""",
        """
def split_node(node, length, page_size=1):
    head, tail = node.edge[:length], node.edge[length:]
    new_key = first_page(tail, page_size)
    upper = Node(head, node.payload.split(length), node.parent, node.key, {new_key: node})
    node.parent.children[node.key] = upper
    node.edge, node.key, node.parent = tail, new_key, upper
    return upper
""",
        """
def split_node(node, length, page_size=1):
    tokens = node.edge.copy()
    upper = Node(edge=tokens[:length].copy(), payload=node.payload.split(length))
    upper.key = tuple(int(token) for token in tokens[:page_size])
    upper.parent = node.parent
    upper.parent.children[upper.key] = upper
    node.edge = tokens[length:].copy()
    node.key = tuple(int(token) for token in node.edge[:page_size])
    node.parent = upper
    upper.children[node.key] = node
    return upper
""",
    ),
    "1.3": (
        """
def insert(self, tokens, slots, namespace=None):
    tokens, slots = self._whole_pages(tokens, slots)
    node, inside, present = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
    if inside < len(node.edge):
        node = radix_tree.split_node(node, inside, self.page_size)
    if len(tokens) > present:
        node = self._add_leaf(node, tokens[present:], slots[present:])
    self._touch(radix_tree.path_to(node))
    return present
""",
        """
def insert(self, tokens, slots, namespace=None):
    tokens, slots = self._whole_pages(tokens, slots)
    position = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
    end = radix_tree.cut_at(position, self.page_size)
    self._touch(radix_tree.path_to(end))
    if position.length == len(tokens):
        return position.length
    leaf = self._add_leaf(end, tokens[position.length :], slots[position.length :])
    leaf.payload.last_used = self._clock
    return position.length
""",
        """
def insert(self, tokens, slots, namespace=None):
    tokens, slots = self._whole_pages(tokens, slots)
    root = self._root_of(namespace)
    position = radix_tree.match_prefix(root, tokens, self.page_size)
    missing = len(tokens) - position.length
    last = radix_tree.cut_at(position, self.page_size)
    if missing > 0:
        last = self._add_leaf(last, tokens[-missing:], slots[-missing:])
    path = []
    while last is not None:
        path.append(last)
        last = last.parent
    self._touch(path)
    return position.length
""",
    ),
    "1.4": (
        """
def evict(self, num_tokens):
    if num_tokens < 0:
        raise ValueError(f"cannot evict {num_tokens} tokens")
    slots = []
    while self._queue and len(slots) < num_tokens:
        priority, _, leaf = heapq.heappop(self._queue)
        leaf.payload.queued = False
        if self._is_evictable(leaf) and priority == self._priority(leaf):
            slots.extend(leaf.payload.slots.tolist())
            self._offer(self._remove_leaf(leaf))
        else:
            self._offer(leaf)
    return np.array(slots, dtype=np.int64)
""",
        """
def evict(self, num_tokens):
    if num_tokens < 0:
        raise ValueError("num_tokens must be >= 0")
    pieces, missing = [np.empty(0, dtype=np.int64)], num_tokens
    while missing > 0 and self._queue:
        entry = heapq.heappop(self._queue)
        node = entry[2]
        node.payload.queued = False
        if not self._is_evictable(node):
            continue
        if entry[0] < self._priority(node):
            self._offer(node)
        else:
            pieces.append(node.payload.slots)
            missing -= len(node.edge)
            self._offer(self._remove_leaf(node))
    return np.concatenate(pieces)
""",
        """
def evict(self, num_tokens):
    if num_tokens < 0:
        raise ValueError("num_tokens must be >= 0")

    def candidates():
        while self._queue:
            priority, _, node = heapq.heappop(self._queue)
            node.payload.queued = False
            if self._is_evictable(node) and priority == self._priority(node):
                yield node
            else:
                self._offer(node)

    freed, leaves = np.empty(0, dtype=np.int64), candidates()
    while len(freed) < num_tokens and (leaf := next(leaves, None)) is not None:
        freed = np.append(freed, leaf.payload.slots)
        self._offer(self._remove_leaf(leaf))
    return freed
""",
    ),
}
