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
