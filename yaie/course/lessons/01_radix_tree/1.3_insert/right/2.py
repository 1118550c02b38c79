from yaie.kernels import radix_tree


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
