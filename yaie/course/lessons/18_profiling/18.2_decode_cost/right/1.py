from yaie.profiling.costs import Cost


def decode_cost(num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize):
    keys = values = num_seqs * context_len * num_kv_heads * head_dim
    query = output = num_seqs * num_heads * head_dim
    products = num_seqs * num_heads * context_len * head_dim
    return Cost((keys + values + query + output) * itemsize, 2 * products + 2 * products)
