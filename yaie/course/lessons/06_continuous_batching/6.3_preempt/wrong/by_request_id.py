# expect: preempt(); running: ['r9', 'r10'], waiting: []
from bisect import insort
from operator import attrgetter


def preempt(self):
    victim = max(self.running, key=attrgetter("request_id"))  # as text "r9" comes after "r10"
    self.running.remove(victim)
    self.pages.give_back(victim)
    victim.num_preemptions += 1
    insort(self.waiting, victim, key=attrgetter("arrival"))
    self.preempted.append(victim)
    return victim
