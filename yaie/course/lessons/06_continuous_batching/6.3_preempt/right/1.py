def preempt(self):
    victim = self.running[0]
    for request in self.running:
        if request.arrival > victim.arrival:
            victim = request
    self.pages.give_back(victim)
    self.running.remove(victim)
    victim.num_preemptions = victim.num_preemptions + 1
    place = sum(other.arrival < victim.arrival for other in self.waiting)
    self.waiting.insert(place, victim)
    self.preempted.append(victim)
    return victim
