# expect: batch.block_tables afterwards
def fill(static, batch):
    num_seqs, width = batch.block_tables.shape
    static.block_tables[:num_seqs, :width] = batch.block_tables
    for name, padding in {"token_ids": 0, "positions": 0, "slot_mapping": -1, "context_lens": 0}.items():
        tensor = getattr(static, name)
        tensor[num_seqs:] = padding
        tensor[:num_seqs] = getattr(batch, name)
    batch.block_tables.zero_()
