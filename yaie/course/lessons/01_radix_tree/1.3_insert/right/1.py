from yaie.engine.prefix_cache import Inserted
from yaie.kernels import radix_tree


def insert(self, tokens, pages):
    tokens, pages = self._whole_pages(tokens, pages)
    node, inside, present = radix_tree.match_prefix(self.root, tokens, self.page_size)
    if inside < len(node.edge):
        node = radix_tree.split_node(node, inside, self.page_size)
    if len(tokens) > present:
        node = self._add_leaf(node, tokens[present:], pages[present // self.page_size :])
    self._use(radix_tree.path_to(node))
    return Inserted(present, len(tokens), node)
