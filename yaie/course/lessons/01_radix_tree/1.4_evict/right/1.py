import heapq

import numpy as np


def evict(self, num_pages):
    if num_pages < 0:
        raise ValueError(f"cannot evict {num_pages} pages")
    pages = []
    while self._queue and len(pages) < num_pages:
        priority, _, leaf = heapq.heappop(self._queue)
        leaf.payload.queued = False
        if self._is_evictable(leaf) and priority == self._priority(leaf):
            pages.extend(leaf.payload.pages.tolist())
            self._offer(self._remove_leaf(leaf))
        else:
            self._offer(leaf)
    return np.array(pages, dtype=np.int64)
