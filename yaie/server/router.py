"""Which replica a request goes to: the one that has most of its prompt in its prefix cache, unless that one is busy.

The router does not ask the replicas. It remembers what it sent where, in a `PrefixCache` for each replica, the same
tree that a replica's engine keeps its pages in, of the same size and with the same eviction. The picture may be wrong
in details (a replica publishes a prompt when it is computed, and the router when it is sent); a request that finds less
than expected is slower and not wrong.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from yaie.engine.prefix_cache import PrefixCache
from yaie.kernels.checks import integer, require


@dataclass
class Known:
    """What the router knows of a replica."""

    cache: PrefixCache
    num_pages: int = 0  # in the cache
    open: int = 0  # requests sent there that have not ended
    sent: int = 0  # requests in all: of two equal ones the one that had fewer is taken


@dataclass(frozen=True)
class Choice:
    replica: Hashable
    matched: int  # tokens of the prompt that it is expected to have
    overloaded: bool = False  # another replica has more of them, and too much to do


@dataclass
class Router:
    """Chooses replicas by prefix and load.

    page_size, num_pages: of the pool of each replica
    max_lead: a replica that has so many more open requests than the idlest is overloaded: it gets nothing for its
        prefixes. Smaller keeps the load even, larger finds more in the caches.
    """

    page_size: int = 16
    num_pages: int = 8192
    max_lead: int = 8
    replicas: dict[Hashable, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("page_size", "num_pages", "max_lead"):
            integer(name, getattr(self, name), 1)

    def add(self, replica: Hashable) -> None:
        """A new replica, or one that was started again: it has nothing cached."""
        self.replicas[replica] = Known(PrefixCache(self.page_size))

    def remove(self, replica: Hashable) -> None:
        """A replica that is gone. KeyError if it is not known."""
        del self.replicas[replica]

    def choose(self, tokens: Sequence[int] | np.ndarray) -> Choice:
        """The replica for a prompt. Changes nothing: what is sent is told by `sent`. LookupError: there is none."""
        if not self.replicas:
            raise LookupError("there is no replica to send the request to")
        tokens = np.asarray(tokens)
        matched = {name: known.cache.find(tokens).length for name, known in self.replicas.items()}
        idlest = min(known.open for known in self.replicas.values())

        def rank(name: Hashable) -> tuple:
            known = self.replicas[name]
            return -matched[name], known.open, known.sent

        best = min(self.replicas, key=rank)
        free = [name for name, known in self.replicas.items() if known.open - idlest < self.max_lead]
        chosen = min(free, key=rank)
        return Choice(chosen, matched[chosen], overloaded=matched[best] > matched[chosen])

    def sent(self, replica: Hashable, tokens: Sequence[int] | np.ndarray) -> None:
        """A request is on this replica now, which will have its prompt cached."""
        known = self.replicas[replica]
        known.open += 1
        known.sent += 1
        tokens = np.asarray(tokens)
        num_pages = min(len(tokens) // self.page_size, self.num_pages)
        tokens = tokens[: num_pages * self.page_size]
        inserted = known.cache.insert(tokens, np.zeros(num_pages, np.int64))  # which pages is the replica's business
        known.num_pages += (inserted.length - inserted.present) // self.page_size
        if (too_many := known.num_pages - self.num_pages) > 0:
            known.num_pages -= len(known.cache.evict(too_many))

    def ended(self, replica: Hashable) -> None:
        """One of its requests has ended, however it did. A replica that is gone by now is passed over."""
        known = self.replicas.get(replica)
        if known is not None:
            require(known.open > 0, f"replica {replica!r} has no open request")
            known.open -= 1
