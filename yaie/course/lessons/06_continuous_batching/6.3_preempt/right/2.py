def preempt(self):
    *_, victim = sorted(self.running, key=lambda request: request.arrival)
    victim.num_preemptions += 1
    self.pages.give_back(victim)
    self.running = [request for request in self.running if request is not victim]
    line = sorted([*self.waiting, victim], key=lambda request: request.arrival)
    self.waiting.clear()
    self.waiting.extend(line)
    self.preempted += [victim]
    return victim
