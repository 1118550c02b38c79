# expect: The chunk ends with the first page that it fills.
def chunk_size(self, request, budget):
    if request.num_uncomputed_tokens <= budget:
        return request.num_uncomputed_tokens
    s = self.pages.block_size
    first = s - request.num_computed_tokens % s
    return first if first <= budget else budget
