# expect: What the policy orders by is not always the time of last use
import heapq

import numpy as np


def evict(self, num_pages):
    if num_pages < 0:
        raise ValueError(f"num_pages must be >= 0, got {num_pages}")
    freed = np.empty(0, dtype=np.int64)
    while len(freed) < num_pages and self._queue:
        priority, _, node = heapq.heappop(self._queue)
        node.payload.queued = False
        if self._is_evictable(node):
            if priority == node.payload.last_used:
                freed = np.concatenate((freed, node.payload.pages))
                node = self._remove_leaf(node)
            self._offer(node)
    return freed
