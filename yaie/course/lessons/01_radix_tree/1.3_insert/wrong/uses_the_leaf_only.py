# expect: Only the last node was marked as used
from yaie.engine.prefix_cache import Inserted
from yaie.kernels import radix_tree


def insert(self, tokens, pages):
    tokens, pages = self._whole_pages(tokens, pages)
    position = radix_tree.match_prefix(self.root, tokens, self.page_size)
    node = radix_tree.cut_at(position, self.page_size)
    if position.length < len(tokens):
        node = self._add_leaf(node, tokens[position.length :], pages[position.length // self.page_size :])
    self._use([node])
    return Inserted(position.length, len(tokens), node)
