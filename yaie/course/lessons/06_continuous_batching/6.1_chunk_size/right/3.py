def chunk_size(self, request, budget):
    done, size = request.num_computed_tokens, self.pages.block_size
    if len(request.token_ids) - done <= budget:
        return len(request.token_ids) - done
    last_page = (done + budget) // size
    chunk = last_page * size - done
    return chunk if chunk > 0 else budget
