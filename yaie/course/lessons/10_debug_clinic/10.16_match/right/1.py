import numpy as np

from yaie.engine.prefix_cache import PrefixMatch
from yaie.kernels import radix_tree


def match(self, tokens):
    position = self.find(tokens)
    node = radix_tree.cut_at(position, self.page_size)
    path = radix_tree.path_to(node)
    self._use(path, 1)
    return PrefixMatch(position.length, np.concatenate([step.payload.pages for step in path]), node)
