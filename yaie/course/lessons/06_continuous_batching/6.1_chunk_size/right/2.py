def chunk_size(self, request, budget):
    if budget >= request.num_uncomputed_tokens:
        return request.num_uncomputed_tokens
    for chunk in range(budget, 0, -1):
        if (request.num_computed_tokens + chunk) % self.pages.block_size == 0:
            return chunk
    return budget
