def chunk_size(self, request, budget):
    to_go = request.num_uncomputed_tokens
    if to_go <= budget:
        return to_go
    over = (request.num_computed_tokens + budget) % self.pages.block_size
    return budget - over if over < budget else budget
