# expect: The dtype of the result is wrong.
import heapq

import numpy as np


def evict(self, num_pages):
    if num_pages < 0:
        raise ValueError(f"num_pages must be >= 0, got {num_pages}")
    freed = []
    while len(freed) < num_pages and self._queue:
        priority, _, node = heapq.heappop(self._queue)
        node.payload.queued = False
        if self._is_evictable(node):
            if priority == self._priority(node):
                freed += node.payload.pages.tolist()
                node = self._remove_leaf(node)
            self._offer(node)
    return np.array(freed)  # float64 where nothing was freed
