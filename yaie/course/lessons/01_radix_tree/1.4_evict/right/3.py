import heapq

import numpy as np


def evict(self, num_pages):
    if num_pages < 0:
        raise ValueError("num_pages must be >= 0")

    def candidates():
        while self._queue:
            priority, _, node = heapq.heappop(self._queue)
            node.payload.queued = False
            if self._is_evictable(node) and priority == self._priority(node):
                yield node
            else:
                self._offer(node)

    freed, leaves = np.empty(0, dtype=np.int64), candidates()
    while len(freed) < num_pages and (leaf := next(leaves, None)) is not None:
        freed = np.append(freed, leaf.payload.pages)
        self._offer(self._remove_leaf(leaf))
    return freed
