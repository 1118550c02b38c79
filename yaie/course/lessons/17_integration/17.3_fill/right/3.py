def fill(static, batch):
    size, n = len(static.token_ids), len(batch.query_lens)
    for row in range(size):
        real = row < n
        static.token_ids[row] = batch.token_ids[row] if real else 0
        static.positions[row] = batch.positions[row] if real else 0
        static.slot_mapping[row] = batch.slot_mapping[row] if real else -1
        static.context_lens[row] = batch.context_lens[row] if real else 0
        if real:
            static.block_tables[row, : batch.block_tables.shape[1]] = batch.block_tables[row]
