# expect: a comparison of `num_pages` were off by one
import heapq

import numpy as np


def evict(self, num_pages):
    if num_pages <= 0:
        raise ValueError("there is nothing to evict")
    freed = np.empty(0, dtype=np.int64)
    while len(freed) < num_pages and self._queue:
        priority, _, node = heapq.heappop(self._queue)
        node.payload.queued = False
        if self._is_evictable(node):
            if priority == self._priority(node):
                freed = np.append(freed, node.payload.pages)
                node = self._remove_leaf(node)
            self._offer(node)
    return freed
