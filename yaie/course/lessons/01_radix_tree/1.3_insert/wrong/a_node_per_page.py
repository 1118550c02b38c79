# expect: Each page became a node of its own.
from yaie.engine.prefix_cache import Inserted
from yaie.kernels import radix_tree


def insert(self, tokens, pages):
    tokens, pages = self._whole_pages(tokens, pages)
    size = self.page_size
    position = radix_tree.match_prefix(self.root, tokens, size)
    node = radix_tree.cut_at(position, size)
    for page in range(position.length // size, len(pages)):
        node = self._add_leaf(node, tokens[page * size : (page + 1) * size], pages[page : page + 1])
    self._use(radix_tree.path_to(node))
    return Inserted(position.length, len(tokens), node)
