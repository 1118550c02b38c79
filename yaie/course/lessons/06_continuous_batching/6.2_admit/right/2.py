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
