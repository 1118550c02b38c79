def _embed(self, token_ids, operations):
    group, weight = self.group, self.embed_tokens.weight
    first = group.rank * len(weight) if group.size > 1 else 0
    local = token_ids - first
    outside = (local < 0) | (local >= len(weight))
    rows = operations.embedding(weight, local.clamp(0, len(weight) - 1))
    return group.all_reduce(rows.masked_fill(outside[:, None], 0))
