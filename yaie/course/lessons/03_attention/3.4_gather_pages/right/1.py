import torch


def gather_pages(cache, block_table, context_len):
    block_size = cache.shape[1]
    positions = torch.arange(context_len)
    blocks = block_table.long()[positions // block_size]
    return cache[blocks, positions % block_size]
