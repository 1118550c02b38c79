# expect: One entry too many was used
def gather_pages(cache, block_table, context_len):
    n = context_len // cache.shape[1] + 1
    return cache[block_table[:n].long()].flatten(0, 1)[:context_len]
