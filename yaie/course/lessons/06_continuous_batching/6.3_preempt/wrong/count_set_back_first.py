# expect: finds that the count of computed tokens is gone
from bisect import insort
from operator import attrgetter


def preempt(self):
    v = max(self.running, key=attrgetter("arrival"))
    v.hold(v.locked_node, v.num_published_tokens, 0)
    self.running.remove(v)
    self.pages.give_back(v)
    v.num_preemptions += 1
    insort(self.waiting, v, key=attrgetter("arrival"))
    self.preempted.append(v)
    return v
