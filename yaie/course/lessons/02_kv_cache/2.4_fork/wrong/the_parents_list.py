# expect: The caller got the parent's block table itself.
def fork(self, parent_id, child_id):
    table = self._table(parent_id)
    if child_id in self.block_tables:
        raise ValueError("not that")
    for b in table:
        self.ref_counts[b] += 1
    self.block_tables[child_id] = list(table)
    self.context_lens[child_id] = self.context_lens[parent_id]
    return table
