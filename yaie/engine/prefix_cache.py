"""The prefix cache: KV that is already computed, found again by its tokens.

A radix tree (`yaie.kernels.radix_tree`) whose nodes hold, for every token of their edge, the KV *slot* where its
key and value lie in the pool. A request that begins like an earlier one takes those slots and skips computing them.

Who owns a slot
---------------
Every slot of the pool is in one of four states, so at rest `free + evictable + protected + private == pool`:

    free        on the pool's free list
    private     computed by a running request and not published yet; its last page may be partial
    protected   in this cache, on the path of a lock: some request is reading it
    evictable   in this cache, locked by nobody: `evict` may hand it back to the pool

and a request passes them on like this:

    hit = cache.match(tokens[:-1])          1. Admit. The last token is always forwarded: its logits give the next
    cache.lock(hit.node)                       token. Lock at once: an eviction in between may take the match away.
    table = [*hit.slots, *private]          2. Compute the rest into private slots.
    present = cache.insert(tokens, table)   3. Publish, once the KV is written. If a twin request was first, the cache
    whole = cache.match(tokens)                has its own slots for `table[:present]`. Read on from those:
    cache.lock(whole.node)                     rewrite the table first, then free what was private there. A table
    cache.unlock(hit.node)                     that keeps pointing at the duplicates soon reads another request's KV.
    duplicates = table[hit.length : present]
    table[: whole.length] = whole.slots
    pool.free(duplicates)
    cache.unlock(whole.node)                4. Finish. What was published stays until it is evicted.

Slots are int64 and counted per token for every page size. With pages, the slots of a page follow each other from a
multiple of `page_size`, so the block table is `slots[::page_size] // page_size`.

Hold a request's tokens in a numpy int64 array: it is used as it is. A list is converted at every call, which takes
longer than the match (`python -m yaie.bench radix`). `torch.from_numpy(match.slots)` copies nothing.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from yaie.kernels import radix_tree
from yaie.kernels.radix_tree import Node


@dataclass(slots=True)
class Span:
    """The payload of the cache: what it knows of the tokens on one edge.

    slots: [num_edge_tokens] int64, where the KV of each token lies
    lock_count: how many locks are held on this node or below it
    created, last_used: ticks of the cache's clock, which counts the calls that touch something
    hits: how many matches went through
    queued: whether the eviction queue holds this node
    """

    slots: np.ndarray
    created: int
    last_used: int
    lock_count: int = 0
    hits: int = 0
    queued: bool = False

    def split(self, length: int) -> Span:
        """Keep the slots from `length` on; return the span of the first `length` tokens: as old, as used and as locked.

        Every lock on or below this node passes through the upper part too. Only the place in the queue is not shared:
        the upper part is no leaf.
        """
        upper = Span(self.slots[:length].copy(), self.created, self.last_used, self.lock_count, self.hits)
        self.slots = self.slots[length:]
        return upper


def lru(span: Span) -> Any:
    """Least recently used first."""
    return span.last_used


def lfu(span: Span) -> Any:
    """Least frequently used first; among equals the one not used for longest."""
    return span.hits, span.last_used


def fifo(span: Span) -> Any:
    """First in, first out, however often it was used."""
    return span.created


# The smallest key is evicted first. The key of a span may only grow: the eviction queue relies on it.
POLICIES: dict[str, Callable[[Span], Any]] = {"lru": lru, "lfu": lfu, "fifo": fifo}


class PrefixMatch(NamedTuple):
    """length: tokens matched, a multiple of the page size; slots: [length] int64, a copy; node: what to lock."""

    length: int
    slots: np.ndarray
    node: Node


class PrefixCache:
    """Finds the longest cached prefix, keeps what is in use, and gives back the rest by a policy.

    Args:
        page_size: tokens per page. Prefixes are matched, kept and evicted in whole pages.
        policy: "lru", "lfu" or "fifo": which unlocked leaf goes first.

    A `namespace` (any hashable: a tenant, a LoRA adapter) is a tree of its own: equal tokens of two namespaces share
    nothing. All namespaces compete for the same room.
    """

    def __init__(self, page_size: int = 1, policy: str = "lru") -> None:
        if not isinstance(page_size, int) or isinstance(page_size, bool) or page_size < 1:
            raise ValueError(f"page_size must be an int >= 1, got {page_size!r}")
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
        self.page_size = page_size
        self.policy = policy
        self.root = self._new_root(None)
        self._roots: dict[Hashable, Node] = {None: self.root}
        self._total_size = 0
        self._protected_size = 0
        self._clock = 0
        self._holders: Counter[Node] = Counter()  # locks taken on a node itself, not those that pass through
        # Heap of (priority, serial, node) with every evictable leaf once. Entries may be stale: the node may have been
        # used, locked or extended since. Because priorities only grow, a stale one is too early, never too late.
        self._queue: list[tuple[Any, int, Node]] = []
        self._num_queued = 0

    @property
    def total_size(self) -> int:
        """Tokens in the cache."""
        return self._total_size

    @property
    def protected_size(self) -> int:
        """Tokens on the path of at least one lock."""
        return self._protected_size

    @property
    def evictable_size(self) -> int:
        """Tokens that `evict` could free now."""
        return self._total_size - self._protected_size

    def match(self, tokens: Sequence[int], namespace: Hashable = None) -> PrefixMatch:
        """The longest cached prefix of `tokens`, in whole pages, with its slots and the node to lock.

        Everything on the way counts as used now. If the match ends inside an edge, the edge is split there, so that a
        lock on `node` protects the matched tokens and no more.

        To admit a request, match `tokens[:-1]`. An exact repeat is cached to its last token, and a request with nothing
        left to forward gets no logits and so no next token.

        Returns PrefixMatch(0, no slots, root) if nothing matches. Lock `node` before the next `evict`.
        """
        tokens = radix_tree.as_int_array(tokens, "tokens")
        position = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
        if position.length == 0:
            return PrefixMatch(0, np.empty(0, dtype=np.int64), self.root)
        node = radix_tree.cut_at(position, self.page_size)
        path = radix_tree.path_to(node)
        self._touch(path, hits=1)
        return PrefixMatch(position.length, np.concatenate([step.payload.slots for step in path]), node)

    def insert(self, tokens: Sequence[int], slots: Sequence[int], namespace: Hashable = None) -> int:
        """Publish computed KV: from now on `tokens` are found, and the cache owns the slots that it took.

        Tokens after the last whole page are left to the caller. What is present already keeps the slots it has; the
        rest is hung on the tree as one new leaf, under a node that is split if the match stopped inside its edge.

        Args:
            tokens: [num_tokens]
            slots: [num_tokens], where the KV of each token lies; one per token for every page size

        Returns:
            present: how many tokens were there already. The cache took `slots[present:]` up to the last whole page. It
            did not take `slots[:present]`: what of them did not come from `match` is a duplicate, which the caller
            stops reading and frees (see the top of this file).

        Given: `self._whole_pages(tokens, slots)` checks and trims both; `self._root_of(namespace)` is where the walk
        starts. Then find the position (`radix_tree.match_prefix`), get the node that ends there
        (`radix_tree.cut_at`), add a leaf for what is missing (`self._add_leaf(node, tokens, slots)`), and mark the
        whole path as used (`self._touch(radix_tree.path_to(node))`).
        """
        tokens, slots = self._whole_pages(tokens, slots)
        position = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
        node = radix_tree.cut_at(position, self.page_size)
        if position.length < len(tokens):
            node = self._add_leaf(node, tokens[position.length :], slots[position.length :])
        self._touch(radix_tree.path_to(node))
        return position.length

    def lock(self, node: Node) -> None:
        """Protect `node` and all above it from eviction until `unlock(node)`. Locks are counted."""
        path = self._path_in_this_cache(node)
        self._holders[node] += 1
        for step in path:
            if step.payload.lock_count == 0:
                self._protected_size += len(step.edge)
            step.payload.lock_count += 1

    def unlock(self, node: Node) -> None:
        """Give back one `lock(node)`. Raises ValueError if there is none, even if locks below pass through."""
        path = self._path_in_this_cache(node)
        if not self._holders[node]:
            raise ValueError(f"{node} is not locked, so it cannot be unlocked")
        self._holders[node] -= 1
        if not self._holders[node]:
            del self._holders[node]
        for step in path:
            step.payload.lock_count -= 1
            if step.payload.lock_count == 0:
                self._protected_size -= len(step.edge)
        self._offer(node)

    def evict(self, num_tokens: int) -> np.ndarray:
        """Free at least `num_tokens` tokens, or all that can be freed if that is less, and return their slots.

        Takes whole leaves, the smallest `self._priority(leaf)` first (for "lru" the one not used for longest), until
        enough is freed; so it may free more than asked. Never takes a node that has children or is locked. A parent
        that has lost its last child is a leaf itself and competes with the others.

        The candidates lie in the heap `self._queue` of (priority, serial, node). Take the smallest entry off with
        `heapq.heappop` and set its `node.payload.queued = False`. Entries may be out of date, so look again:
        - `self._is_evictable(node)` is False: it was locked or extended meanwhile. Drop the entry.
        - its priority is no longer `self._priority(node)`: it was used meanwhile. Put it back by `self._offer(node)`.
        - else evict it: keep its slots, `parent = self._remove_leaf(node)`, and `self._offer(parent)`, which queues a
          node only if it can be evicted.

        Returns:
            [num_freed] int64, which the caller gives back to the pool; empty if nothing could be freed

        Raises ValueError if `num_tokens` is negative.
        """
        if num_tokens < 0:
            raise ValueError(f"num_tokens must be >= 0, got {num_tokens}")
        freed = [np.empty(0, dtype=np.int64)]
        num_freed = 0
        while num_freed < num_tokens and self._queue:
            priority, _, node = heapq.heappop(self._queue)
            node.payload.queued = False
            if not self._is_evictable(node):
                continue
            if priority != self._priority(node):
                self._offer(node)
                continue
            freed.append(node.payload.slots)
            num_freed += len(node.payload.slots)
            parent = self._remove_leaf(node)
            self._offer(parent)
        return np.concatenate(freed)

    def check_integrity(self) -> None:
        """Raise RuntimeError naming the first thing that is wrong: links, sizes, locks, queue, a slot in two places."""
        total = protected = 0
        all_slots = []
        queued = {node: priority for priority, _, node in self._queue}
        if len(queued) != len(self._queue):
            raise RuntimeError("a node is in the eviction queue twice")
        unseen_holders = dict(self._holders)
        for namespace, root in self._roots.items():
            if root.key != namespace:
                raise RuntimeError(f"the root of namespace {namespace!r} says that it is that of {root.key!r}")
            radix_tree.check_links(root, self.page_size)
            for node in reversed(list(radix_tree.iter_nodes(root))):  # children before their parent
                span = node.payload
                if len(span.slots) != len(node.edge):
                    raise RuntimeError(f"{node} has {len(span.slots)} slots")
                locks = unseen_holders.pop(node, 0) + sum(c.payload.lock_count for c in node.children.values())
                if span.lock_count != locks:
                    raise RuntimeError(f"{node} counts {span.lock_count} locks, there are {locks} on it and below it")
                if span.queued != (node in queued):
                    raise RuntimeError(f"{node}: queued is {span.queued}, which the eviction queue contradicts")
                if self._is_evictable(node) and not (span.queued and queued[node] <= self._priority(node)):
                    raise RuntimeError(f"{node} could be evicted, but is not in the queue or comes too late there")
                total += len(node.edge)
                protected += len(node.edge) if span.lock_count else 0
                all_slots.append(span.slots)
        if unseen_holders:
            raise RuntimeError(f"locks are held on nodes that are not in the cache: {list(unseen_holders)}")
        if (total, protected) != (self._total_size, self._protected_size):
            raise RuntimeError(
                f"the tree holds {total} tokens, {protected} of them locked; the cache counts "
                f"{self._total_size} and {self._protected_size}"
            )
        values, counts = np.unique(np.concatenate(all_slots), return_counts=True)
        if (counts > 1).any():
            raise RuntimeError(f"slots that belong to more than one token: {values[counts > 1].tolist()}")

    def _new_root(self, namespace: Hashable) -> Node:
        return Node(np.empty(0, dtype=np.int64), Span(np.empty(0, dtype=np.int64), 0, 0), key=namespace)

    def _root_of(self, namespace: Hashable) -> Node:
        """The root of a namespace. One that has no leaf yet is new each time: `_add_leaf` keeps it."""
        try:
            return self._roots.get(namespace) or self._new_root(namespace)
        except TypeError:
            kind = type(namespace).__name__
            raise TypeError(f"namespace must be hashable, got {kind}: {namespace!r}") from None

    def _whole_pages(self, tokens: Sequence[int], slots: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Check the arguments of `insert` and cut both to whole pages."""
        tokens = radix_tree.as_int_array(tokens, "tokens")
        slots = radix_tree.as_int_array(slots, "slots")
        if len(tokens) != len(slots):
            raise ValueError(f"insert needs one slot per token, got {len(tokens)} tokens and {len(slots)} slots")
        if len(slots) and slots.min() < 0:
            raise ValueError(f"slots must be >= 0, got {slots.min()}")
        num_aligned = len(tokens) - len(tokens) % self.page_size
        return tokens[:num_aligned], slots[:num_aligned]

    def _path_in_this_cache(self, node: Node) -> list[Node]:
        """The nodes from the root to `node`; ValueError if that root is not one of this cache's."""
        if not isinstance(node, Node):
            raise TypeError(f"expected a node, as in match(...).node, got {type(node).__name__}")
        path = radix_tree.path_to(node)
        if self._roots.get(path[0].key) is not path[0]:
            raise ValueError(f"{node} is not in this cache: it was evicted, or it belongs to another cache")
        return path

    def _touch(self, path: list[Node], hits: int = 0) -> None:
        """Mark the nodes of a path as used now. One tick per call, so no two leaves were ever used at the same time."""
        self._clock += 1
        for node in path:
            node.payload.last_used = self._clock
            node.payload.hits += hits

    def _priority(self, node: Node) -> Any:
        """What the policy orders by: the smallest is evicted first."""
        return POLICIES[self.policy](node.payload)

    def _is_evictable(self, node: Node) -> bool:
        """A leaf that nobody has locked. (A root never is: it has no parent.)"""
        return node.parent is not None and not node.children and node.payload.lock_count == 0

    def _offer(self, node: Node) -> None:
        """Put `node` into the eviction queue if it can be evicted and is not there yet."""
        if self._is_evictable(node) and not node.payload.queued:
            node.payload.queued = True
            self._num_queued += 1  # a serial number, so that two entries never compare their nodes
            heapq.heappush(self._queue, (self._priority(node), self._num_queued, node))

    def _add_leaf(self, parent: Node, tokens: np.ndarray, slots: np.ndarray) -> Node:
        """Hang a new unlocked leaf under `parent`, count it and queue it."""
        span = Span(slots.copy(), created=self._clock + 1, last_used=self._clock + 1)
        leaf = radix_tree.add_leaf(parent, tokens, span, self.page_size)
        if parent.parent is None:  # a root, and perhaps a new one
            self._roots[parent.key] = parent
        self._total_size += len(tokens)
        self._offer(leaf)
        return leaf

    def _remove_leaf(self, leaf: Node) -> Node:
        """Take an evictable leaf out, uncount it and return its parent. A namespace that is empty now is forgotten."""
        parent = radix_tree.remove_leaf(leaf)
        self._total_size -= len(leaf.edge)
        if parent.parent is None and not parent.children and parent is not self.root:
            del self._roots[parent.key]
        return parent
