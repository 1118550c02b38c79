import torch

from yaie.parallel.shards import span


def _embed(self, token_ids, operations):
    weight = self.embed_tokens.weight
    if self.group.size == 1:
        return operations.embedding(weight, token_ids)
    mine = span(self.config.vocab_size, self.group.rank, self.group.size)
    rows = weight.new_zeros(len(token_ids), weight.shape[1])
    places = torch.nonzero((token_ids >= mine.start) & (token_ids < mine.stop)).flatten()
    rows[places] = operations.embedding(weight, token_ids[places] - mine.start)
    return self.group.all_reduce(rows)
