# expect: Every node is looked at for each leaf that goes
import numpy as np

from yaie.kernels.radix_tree import iter_nodes


def evict(self, num_pages):
    if num_pages < 0:
        raise ValueError(f"num_pages must be >= 0, got {num_pages}")
    freed = np.empty(0, dtype=np.int64)
    while len(freed) < num_pages and (leaves := list(filter(self._is_evictable, iter_nodes(self.root)))):
        oldest = min(leaves, key=self._priority)
        freed = np.append(freed, oldest.payload.pages)
        self._offer(self._remove_leaf(oldest))
    return freed
