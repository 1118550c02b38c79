from yaie.parallel.shards import span


def _embed(self, token_ids, operations):
    weight, rank, size = self.embed_tokens.weight, self.group.rank, self.group.size
    own = span(self.config.vocab_size, rank, size)
    is_own = (token_ids // len(weight) == rank) if own.stop > own.start else token_ids < 0
    rows = operations.embedding(weight, token_ids % len(weight))
    return self.group.all_reduce(rows * is_own.to(rows.dtype).unsqueeze(1)) if size > 1 else rows
