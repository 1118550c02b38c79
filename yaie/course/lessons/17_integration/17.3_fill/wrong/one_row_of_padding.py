# expect: Row 3 is padding
def fill(static, batch):
    num_seqs, width = batch.block_tables.shape
    for name, padding in {"token_ids": 0, "positions": 0, "slot_mapping": -1, "context_lens": 0}.items():
        tensor = getattr(static, name)
        tensor[num_seqs : num_seqs + 1] = padding
        tensor[:num_seqs] = getattr(batch, name)
    static.block_tables[:num_seqs, :width] = batch.block_tables
