from yaie.engine.prefix_cache import Inserted
from yaie.kernels import radix_tree


def insert(self, tokens, pages):
    tokens, pages = self._whole_pages(tokens, pages)
    end = radix_tree.cut_at(self.find(tokens), self.page_size)
    present = len(radix_tree.tokens_to(end))
    self._use(radix_tree.path_to(end))
    if present == len(tokens):
        return Inserted(present, present, end)
    leaf = self._add_leaf(end, tokens[present:], pages[present // self.page_size :])
    leaf.payload.last_used = self._clock
    return Inserted(length=len(tokens), present=present, node=leaf)
