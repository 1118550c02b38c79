# expect: The cost was asked for before the request was admitted.
def admit(self, budget):
    out = []
    for r in self.admission_order():
        if budget == 0 or len(self.running) == self.max_num_seqs:
            break
        if self.is_being_computed(r):
            continue
        cost = self.chunk_size(r, budget)
        if not self.pages.admit(r, num_spare=len(self.running)):
            break
        self.start(r)
        out.append(r)
        budget -= cost
    return out
