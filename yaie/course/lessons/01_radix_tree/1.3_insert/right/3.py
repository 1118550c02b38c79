from yaie.engine.prefix_cache import Inserted
from yaie.kernels import radix_tree


def insert(self, tokens, pages):
    tokens, pages = self._whole_pages(tokens, pages)
    position = radix_tree.match_prefix(self.root, tokens, self.page_size)
    num_missing = len(pages) - position.length // self.page_size
    last = radix_tree.cut_at(position, self.page_size)
    if num_missing > 0:
        last = self._add_leaf(last, tokens[-num_missing * self.page_size :], pages[-num_missing:])
    path = [last]
    while path[-1].parent is not None:
        path.append(path[-1].parent)
    self._use(path, hits=0)
    return Inserted(position.length, len(pages) * self.page_size, last)
