def fill(static, batch):
    num_seqs = len(batch.token_ids)
    static.token_ids.zero_()
    static.context_lens.zero_()
    static.slot_mapping.fill_(-1)
    for name in ("token_ids", "positions", "slot_mapping", "context_lens"):
        getattr(static, name)[:num_seqs].copy_(getattr(batch, name))
    static.block_tables[:num_seqs, : batch.block_tables.shape[1]].copy_(batch.block_tables)
