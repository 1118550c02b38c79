import numpy as np

from yaie.engine.prefix_cache import PrefixMatch
from yaie.kernels import radix_tree


def match(self, tokens, namespace=None):
    tokens = radix_tree.as_int_array(tokens, "tokens")
    position = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
    if position.length == 0:
        return PrefixMatch(0, np.empty(0, dtype=np.int64), self.root)
    node = radix_tree.cut_at(position, self.page_size)
    path = radix_tree.path_to(node)
    self._touch(path, 1)
    return PrefixMatch(position.length, np.concatenate([step.payload.slots for step in path]), node)
