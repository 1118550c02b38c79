from yaie.kernels import radix_tree


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
