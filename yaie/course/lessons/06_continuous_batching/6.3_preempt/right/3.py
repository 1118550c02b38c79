from bisect import insort
from operator import attrgetter


def preempt(self):
    arrivals = [request.arrival for request in self.running]
    victim = self.running.pop(arrivals.index(max(arrivals)))
    self.preempted.append(victim)
    insort(self.waiting, victim, key=attrgetter("arrival"))
    victim.num_preemptions += 1
    self.pages.give_back(victim, keep=True)
    return victim
