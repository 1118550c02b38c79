# expect: number of leaves whose priority was asked for
import heapq

import numpy as np


def evict(self, num_pages):
    if num_pages < 0:
        raise ValueError(f"num_pages must be >= 0, got {num_pages}")
    freed = np.empty(0, dtype=np.int64)
    while len(freed) < num_pages:
        nodes = sorted((node for _, _, node in self._queue if self._is_evictable(node)), key=self._priority)
        if not nodes:
            break
        self._queue = [entry for entry in self._queue if entry[2] is not nodes[0]]
        heapq.heapify(self._queue)
        nodes[0].payload.queued = False
        freed = np.append(freed, nodes[0].payload.pages)
        self._offer(self._remove_leaf(nodes[0]))
    return freed
