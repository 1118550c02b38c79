from yaie.engine.request import Status


def schedule(self):
    batch = {}
    budget = self.max_num_batched_tokens
    self.preempted = []
    for request in [r for r in self.running if r.is_decode] + [r for r in self.running if not r.is_decode]:
        if request.status is not Status.RUNNING:
            continue
        while not self.pages.grow(request):
            victim = self.preempt()
            budget += batch.pop(victim, 0)
            if victim is request:
                break
        else:
            if num_tokens := self.chunk_size(request, budget):
                batch[request] = num_tokens
                budget -= num_tokens
    if budget and not self.preempted:
        for request in self.admit(budget):
            batch[request] = self.chunk_size(request, budget)
            budget -= batch[request]
    return batch
