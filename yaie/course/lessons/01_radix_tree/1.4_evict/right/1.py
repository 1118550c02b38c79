import heapq

import numpy as np


def evict(self, num_tokens):
    if num_tokens < 0:
        raise ValueError(f"cannot evict {num_tokens} tokens")
    slots = []
    while self._queue and len(slots) < num_tokens:
        priority, _, leaf = heapq.heappop(self._queue)
        leaf.payload.queued = False
        if self._is_evictable(leaf) and priority == self._priority(leaf):
            slots.extend(leaf.payload.slots.tolist())
            self._offer(self._remove_leaf(leaf))
        else:
            self._offer(leaf)
    return np.array(slots, dtype=np.int64)
