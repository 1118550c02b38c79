from bisect import insort
from operator import attrgetter

from yaie.engine.request import Status


def preempt(self):
    arrivals = [request.arrival for request in self.running]
    victim = self.running.pop(arrivals.index(max(arrivals)))
    self.preempted.append(victim)
    insort(self.waiting, victim, key=attrgetter("arrival"))
    victim.num_preemptions += 1
    victim.status = Status.WAITING
    self.pages.give_back(victim, keep=True)
    return victim
