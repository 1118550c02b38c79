# expect: `num_preemptions` was set to 1.
from bisect import insort
from operator import attrgetter


def preempt(self):
    v = max(self.running, key=attrgetter("arrival"))
    self.running.remove(v)
    self.pages.give_back(v)
    v.num_preemptions = 1
    insort(self.waiting, v, key=attrgetter("arrival"))
    self.preempted.append(v)
    return v
