import torch


def gather_pages(cache, block_table, context_len):
    rows = []
    for position in range(context_len):
        entry, row = divmod(position, cache.shape[1])
        rows.append(cache[int(block_table[entry]), row])
    return torch.stack(rows)
