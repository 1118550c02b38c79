"""Three differently written right answers for each exercise of lesson 06."""

ANSWERS = {
    "6.1": (
        """
def chunk_size(self, request, budget):
    to_go = request.num_uncomputed_tokens
    if to_go <= budget:
        return to_go
    over = (request.num_computed_tokens + budget) % self.pages.block_size
    return budget - over if over < budget else budget
""",
        """
def chunk_size(self, request, budget):
    if budget >= request.num_uncomputed_tokens:
        return request.num_uncomputed_tokens
    for chunk in range(budget, 0, -1):
        if (request.num_computed_tokens + chunk) % self.pages.block_size == 0:
            return chunk
    return budget
""",
        """
def chunk_size(self, request, budget):
    done, size = request.num_computed_tokens, self.pages.block_size
    if len(request.token_ids) - done <= budget:
        return len(request.token_ids) - done
    last_page = (done + budget) // size
    chunk = last_page * size - done
    return chunk if chunk > 0 else budget
""",
    ),
    "6.2": (
        """
def admit(self, budget):
    started = []
    for request in self.admission_order():
        if budget <= 0 or len(self.running) >= self.max_num_seqs:
            return started
        if not self.is_being_computed(request):
            if self.pages.admit(request, len(self.running)):
                self.start(request)
                started.append(request)
                budget = budget - self.chunk_size(request, budget)
            else:
                return started
    return started
""",
        """
def admit(self, budget):
    before = len(self.running)
    candidates = list(self.admission_order())
    while candidates and budget > 0 and len(self.running) < self.max_num_seqs:
        request = candidates.pop(0)
        if self.is_being_computed(request):
            continue
        if not self.pages.admit(request, num_spare=len(self.running)):
            break
        self.start(request)
        budget -= self.chunk_size(request, budget)
    return self.running[before:]
""",
        """
def admit(self, budget):
    admitted, places = [], self.max_num_seqs - len(self.running)
    for request in self.admission_order():
        if not budget or not places:
            break
        if self.is_being_computed(request):
            continue
        spare = len(self.running)
        if self.pages.admit(request, spare) is False:
            break
        cost = self.chunk_size(request, budget)
        self.start(request)
        admitted += [request]
        budget, places = budget - cost, places - 1
    return admitted
""",
    ),
    "6.3": (
        """
def preempt(self):
    victim = self.running[0]
    for request in self.running:
        if request.arrival > victim.arrival:
            victim = request
    self.pages.give_back(victim)
    self.running.remove(victim)
    victim.status = Status.WAITING
    victim.num_preemptions = victim.num_preemptions + 1
    place = sum(other.arrival < victim.arrival for other in self.waiting)
    self.waiting.insert(place, victim)
    self.preempted.append(victim)
    return victim
""",
        """
def preempt(self):
    *_, victim = sorted(self.running, key=lambda request: request.arrival)
    victim.status = Status.WAITING
    victim.num_preemptions += 1
    self.pages.give_back(victim)
    self.running = [request for request in self.running if request is not victim]
    line = sorted([*self.waiting, victim], key=lambda request: request.arrival)
    self.waiting.clear()
    self.waiting.extend(line)
    self.preempted += [victim]
    return victim
""",
        """
def preempt(self):
    arrivals = [request.arrival for request in self.running]
    victim = self.running.pop(arrivals.index(max(arrivals)))
    self.preempted.append(victim)
    insort(self.waiting, victim, key=attrgetter("arrival"))
    victim.num_preemptions += 1
    victim.status = Status.WAITING
    self.pages.give_back(victim, keep=True)
    return victim
""",
    ),
}
