import heapq

import numpy as np


def evict(self, num_pages):
    if num_pages < 0:
        raise ValueError("num_pages must be >= 0")
    pieces, missing = [np.empty(0, dtype=np.int64)], num_pages
    while missing > 0 and self._queue:
        entry = heapq.heappop(self._queue)
        node = entry[2]
        node.payload.queued = False
        if not self._is_evictable(node):
            continue
        if entry[0] < self._priority(node):
            self._offer(node)
        else:
            pieces.append(node.payload.pages)
            missing -= len(node.edge) // self.page_size
            self._offer(self._remove_leaf(node))
    return np.concatenate(pieces)
