from yaie.kernels import radix_tree


def insert(self, tokens, slots, namespace=None):
    tokens, slots = self._whole_pages(tokens, slots)
    node, inside, present = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
    if inside < len(node.edge):
        node = radix_tree.split_node(node, inside, self.page_size)
    if len(tokens) > present:
        node = self._add_leaf(node, tokens[present:], slots[present:])
    self._touch(radix_tree.path_to(node))
    return present
