from yaie.profiling.costs import Cost


def decode_cost(num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize):
    cost = Cost(0, 0)
    for _ in range(num_seqs):
        cache = 2 * context_len * num_kv_heads * head_dim * itemsize
        rest = 2 * num_heads * head_dim * itemsize
        flops = sum(2 * head_dim + 2 * head_dim for _ in range(num_heads)) * context_len
        cost = Cost(cost.bytes + cache + rest, cost.flops + flops)
    return cost
