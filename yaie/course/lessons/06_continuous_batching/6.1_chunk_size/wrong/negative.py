# expect: and the result is negative or
def chunk_size(self, request, budget):
    if request.num_uncomputed_tokens <= budget:
        return request.num_uncomputed_tokens
    end = request.num_computed_tokens + budget
    return end - end % self.pages.block_size - request.num_computed_tokens
