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
