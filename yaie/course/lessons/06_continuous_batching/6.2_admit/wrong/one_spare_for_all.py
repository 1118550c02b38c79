# expect: One spare page was left for all of them.
def admit(self, budget):
    out = []
    for r in self.admission_order():
        if budget == 0 or len(self.running) == self.max_num_seqs:
            break
        if self.is_being_computed(r):
            continue
        if not self.pages.admit(r, num_spare=1):
            break
        self.start(r)
        out.append(r)
        budget -= self.chunk_size(r, budget)
    return out
