# expect: For one block the result is a view of the pool.
def gather_pages(cache, block_table, context_len):
    n = -(-context_len // cache.shape[1])
    if n == 1:
        return cache[block_table[0]][:context_len]
    return cache[block_table[:n].long()].flatten(0, 1)[:context_len]
