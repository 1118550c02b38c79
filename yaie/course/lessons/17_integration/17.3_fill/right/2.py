def fill(static, batch):
    n, width = batch.block_tables.shape
    for name, padding in {"token_ids": 0, "positions": 0, "slot_mapping": -1, "context_lens": 0}.items():
        target = getattr(static, name)
        target[n:] = padding
        target[:n] = getattr(batch, name)
    static.block_tables.zero_()
    static.block_tables[:n, :width] = batch.block_tables
