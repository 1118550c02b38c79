from yaie.profiling.costs import Cost


def decode_cost(num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize):
    per_head = head_dim * itemsize
    moved = 2 * num_seqs * per_head * (context_len * num_kv_heads + num_heads)
    return Cost(bytes=moved, flops=4 * head_dim * num_heads * context_len * num_seqs)
