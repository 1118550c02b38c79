"""The prefix cache: KV that is already computed, found again by its tokens.

A radix tree (`yaie.kernels.radix_tree`) whose nodes hold, for every page of their edge, the page of the pool where its
keys and values lie. A request that begins like an earlier one takes those pages (`Pages.reuse`, `Pages.publish`).
Tokens and pages are numpy int64 arrays; lists are converted, which takes longer than the match.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from yaie.kernels import checks, radix_tree
from yaie.kernels.radix_tree import Node, Position

NO_PAGES = np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class Span:
    """The payload of the cache: what it knows of the tokens on one edge."""

    pages: np.ndarray  # [num_edge_pages] int64, where the KV of each page of tokens lies
    created: int  # a tick of the cache's clock, which counts the calls that use something
    last_used: int
    lock_count: int = 0  # locks that are held on this node or below it
    hits: int = 0  # matches that went through
    queued: bool = False  # whether the eviction queue holds this node

    def split(self, num_pages: int) -> Span:
        """Keep the pages from `num_pages` on; return the span of those before: as old, as used and as locked, for every
        lock on or below this node passes through both. The upper part is no leaf, so it is not in the queue.
        """
        upper = Span(self.pages[:num_pages].copy(), self.created, self.last_used, self.lock_count, self.hits)
        self.pages = self.pages[num_pages:]
        return upper


# The smallest key is evicted first. The key of a span may only grow: the eviction queue relies on it.
POLICIES: dict[str, Callable[[Span], Any]] = {
    "lru": lambda span: span.last_used,
    "lfu": lambda span: (span.hits, span.last_used),  # among equals the one not used for longest
    "fifo": lambda span: span.created,
}


class PrefixMatch(NamedTuple):
    length: int  # tokens matched, whole pages
    pages: np.ndarray  # [num_pages] int64, a copy
    node: Node  # what to lock


class Inserted(NamedTuple):
    """The cache took the pages of the tokens from `present` to `length`, and no others."""

    present: int  # tokens that were there already
    length: int  # tokens that are there now, whole pages
    node: Node  # where they end


class PrefixCache:
    """Finds the longest cached prefix, keeps what is in use, and gives back the rest by a policy: "lru", "lfu", "fifo".

    Prefixes are matched, kept and evicted in whole pages of `page_size` tokens.
    """

    def __init__(self, page_size: int = 1, policy: str = "lru") -> None:
        self.page_size = checks.integer("page_size", page_size, 1)
        checks.one_of("policy", policy, POLICIES)
        self.policy = policy
        self.root = Node(np.empty(0, dtype=np.int64), Span(NO_PAGES, 0, 0))
        self.total_size = 0  # pages
        self.protected_size = 0  # those on the path of at least one lock
        self._clock = 0
        self._holders: Counter[Node] = Counter()  # locks taken on a node itself, not those that pass through
        # Heap of (priority, serial, node) with every evictable leaf once. Entries may be stale: the node may have been
        # used, locked or extended since. Because priorities only grow, a stale one is too early, never too late.
        self._queue: list[tuple[Any, int, Node]] = []
        self._num_queued = 0

    @property
    def evictable_size(self) -> int:
        """Pages that `evict` could free now."""
        return self.total_size - self.protected_size

    def find(self, tokens: Sequence[int] | np.ndarray) -> Position:
        """Where a match of `tokens` would end. Nothing is split, locked, or counted as used."""
        return radix_tree.match_prefix(self.root, radix_tree.as_int_array(tokens, "tokens"), self.page_size)

    def num_unlocked(self, position: Position) -> int:
        """Pages on the path to `position` that are not locked: a lock there would keep that many from eviction."""
        node, num_tokens, num_unlocked = position.node, position.inside, 0
        while node.parent is not None and node.payload.lock_count == 0:  # above a locked node all are locked
            num_unlocked += num_tokens // self.page_size
            node = node.parent
            num_tokens = len(node.edge)
        return num_unlocked

    def pages_to(self, node: Node) -> np.ndarray:
        """The pages of all tokens from the root to the end of `node`."""
        return np.concatenate([step.payload.pages for step in radix_tree.path_to(node)])

    def first_missing(self, tokens: Sequence[int] | np.ndarray) -> int:
        """Length of the shortest prefix of whole pages that is not cached, and would be once its KV is published."""
        return self.find(tokens).length + self.page_size

    def match(self, tokens: Sequence[int] | np.ndarray) -> PrefixMatch:
        """The longest cached prefix of `tokens`, in whole pages, with its pages and the node to lock.

        Everything on the way counts as used now, and as hit once more. If the match ends inside an edge, the edge is
        split there, so that a lock on `node` protects the matched tokens and no more. No match is an empty one at the
        root. Lock `node` before the next `evict`.
        """
        position = self.find(tokens)
        node = radix_tree.cut_at(position, self.page_size)
        path = radix_tree.path_to(node)
        self._use(path, hits=1)
        return PrefixMatch(position.length, np.concatenate([step.payload.pages for step in path]), node)

    def insert(self, tokens: Sequence[int] | np.ndarray, pages: Sequence[int] | np.ndarray) -> Inserted:
        """Publish computed KV: from now on `tokens` are found, and the cache owns the pages that it took.

        What is present already keeps the pages it has; the rest becomes one new leaf. The whole path counts as used
        now, but not as hit: who publishes has not asked for anything, and would make itself popular otherwise. Tokens
        after the last whole page, and their page, are left to the caller.

        tokens: [num_tokens]
        pages: [num_pages], where the KV of each page of tokens lies

        Other numbers of pages, or negative ones, are a TypeError or ValueError, and nothing has changed.
        """
        tokens, pages = self._whole_pages(tokens, pages)
        position = radix_tree.match_prefix(self.root, tokens, self.page_size)
        node = radix_tree.cut_at(position, self.page_size)
        if position.length < len(tokens):
            node = self._add_leaf(node, tokens[position.length :], pages[position.length // self.page_size :])
        self._use(radix_tree.path_to(node))
        return Inserted(position.length, len(tokens), node)

    def lock(self, node: Node) -> None:
        """Protect `node` and all above it from eviction until `unlock(node)`. Locks are counted."""
        path = self._path_in_this_cache(node)
        self._holders[node] += 1
        for step in path:
            if step.payload.lock_count == 0:
                self.protected_size += len(step.payload.pages)
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
                self.protected_size -= len(step.payload.pages)
        self._offer(node)

    def evict(self, num_pages: int) -> np.ndarray:
        """Free at least `num_pages` pages, or all that can be freed if that is less, and return them, int64.

        Takes whole leaves, the smallest priority first (for "lru" the one not used for longest), until enough is
        freed; so it may free more than asked. Never takes a node that has children or is locked. A parent that has lost
        its last child is a leaf itself and competes with the others. Raises ValueError if `num_pages` is negative.
        """
        if num_pages < 0:
            raise ValueError(f"num_pages must be >= 0, got {num_pages}")
        freed = [NO_PAGES]
        num_freed = 0
        while num_freed < num_pages and self._queue:
            priority, _, node = heapq.heappop(self._queue)
            node.payload.queued = False
            if not self._is_evictable(node):
                continue
            if priority != self._priority(node):
                self._offer(node)
                continue
            freed.append(node.payload.pages)
            num_freed += len(node.payload.pages)
            self._offer(self._remove_leaf(node))
        return np.concatenate(freed)

    def check_integrity(self) -> None:
        """Raise AssertionError naming the first link, size, lock, queue entry or page that is wrong."""
        protected, all_pages = 0, []
        queued = {node: priority for priority, _, node in self._queue}
        assert len(queued) == len(self._queue), "a node is in the eviction queue twice"
        radix_tree.check_links(self.root, self.page_size)
        for node in reversed(list(radix_tree.iter_nodes(self.root))):  # children before their parent
            span, size = node.payload, len(node.payload.pages)
            assert size * self.page_size == len(node.edge), f"{node} has {size} pages of {self.page_size} tokens"
            locks = self._holders[node] + sum(child.payload.lock_count for child in node.children.values())
            assert span.lock_count == locks, f"{node} counts {span.lock_count} locks, {locks} are on it and below it"
            assert span.queued == (node in queued), f"{node}: queued is {span.queued}, the queue says otherwise"
            in_time = not self._is_evictable(node) or (span.queued and queued[node] <= self._priority(node))
            assert in_time, f"{node} could be evicted, but is not in the queue or comes too late there"
            protected += size if span.lock_count else 0
            all_pages.append(span.pages)
        held = self._holders.total()
        assert self.root.payload.lock_count == held, f"some of {held} locks are on nodes that are not in the cache"
        pages, times = np.unique(np.concatenate(all_pages), return_counts=True)
        assert times.max(initial=1) == 1, f"pages that are in more than one place: {pages[times > 1].tolist()}"
        sizes, counted = (len(pages), protected), (self.total_size, self.protected_size)
        assert sizes == counted, f"the cache counts (pages, locked pages) {counted}, there are {sizes}"

    # --- shared steps ---------------------------------------------------------------------------------------

    def _whole_pages(self, tokens: Any, pages: Any) -> tuple[np.ndarray, np.ndarray]:
        """The arguments of `insert`, checked and cut to whole pages."""
        tokens = radix_tree.as_int_array(tokens, "tokens")
        pages = radix_tree.as_int_array(pages, "pages")
        num_whole, rest = divmod(len(tokens), self.page_size)
        if not num_whole <= len(pages) <= num_whole + (rest > 0):
            came = f"got {len(pages)} for {len(tokens)} tokens"
            raise ValueError(f"insert needs a page for every {self.page_size} tokens, {came}")
        least = pages.min(initial=0)
        checks.require(least >= 0, "pages must be >= 0", int(least))
        return tokens[: len(tokens) - rest], pages[:num_whole]

    def _path_in_this_cache(self, node: Node) -> list[Node]:
        """The nodes from the root to `node`; ValueError if that root is not this cache's."""
        if not isinstance(node, Node):
            raise TypeError(f"expected a node, as in match(...).node, got {checks.describe(node)}")
        path = radix_tree.path_to(node)
        if path[0] is not self.root:
            raise ValueError(f"{node} is not in this cache: it was evicted, or it belongs to another cache")
        return path

    def _use(self, path: list[Node], hits: int = 0) -> None:
        """Mark the nodes of a path as used now. One tick per call, so no two leaves were ever used at the same time."""
        self._clock += 1
        for node in path:
            node.payload.last_used = self._clock
            node.payload.hits += hits

    def _priority(self, node: Node) -> Any:
        """What the policy orders by: the smallest is evicted first."""
        return POLICIES[self.policy](node.payload)

    def _is_evictable(self, node: Node) -> bool:
        """A leaf that is not locked. (The root never is one: it has no parent.)"""
        return node.parent is not None and not node.children and node.payload.lock_count == 0

    def _offer(self, node: Node) -> None:
        """Put `node` into the eviction queue if it can be evicted and is not there yet."""
        if self._is_evictable(node) and not node.payload.queued:
            node.payload.queued = True
            self._num_queued += 1  # a serial number, so that two entries never compare their nodes
            heapq.heappush(self._queue, (self._priority(node), self._num_queued, node))

    def _add_leaf(self, parent: Node, tokens: np.ndarray, pages: np.ndarray) -> Node:
        """Hang a new unlocked leaf under `parent`, count it and queue it."""
        span = Span(pages.copy(), created=self._clock + 1, last_used=self._clock + 1)
        leaf = radix_tree.add_leaf(parent, tokens, span, self.page_size)
        self.total_size += len(pages)
        self._offer(leaf)
        return leaf

    def _remove_leaf(self, leaf: Node) -> Node:
        """Take an evictable leaf out, uncount it and return its parent."""
        self.total_size -= len(leaf.payload.pages)
        return radix_tree.remove_leaf(leaf)


class KeepsNothing(PrefixCache):
    """A cache without room, for an engine that reuses nothing: every match is empty, and no page is ever taken."""

    def insert(self, tokens: Sequence[int] | np.ndarray, pages: Sequence[int] | np.ndarray) -> Inserted:
        self._whole_pages(tokens, pages)
        return Inserted(0, 0, self.root)

    def first_missing(self, tokens: Sequence[int] | np.ndarray) -> int:
        """More than there are: nothing will ever be published that these tokens could find."""
        return len(tokens) + self.page_size
