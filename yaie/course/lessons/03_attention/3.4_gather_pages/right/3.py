import torch


def gather_pages(cache, block_table, context_len):
    pages, left = [], context_len
    for block_id in block_table.tolist():
        if left <= 0:
            break
        pages.append(cache[block_id, :left])
        left -= cache.shape[1]
    return torch.cat(pages).clone()
