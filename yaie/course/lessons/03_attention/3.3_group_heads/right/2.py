def group_heads(query, num_kv_heads):
    num_seqs, q_len, num_heads, head_dim = query.shape
    return query.transpose(1, 2).reshape(num_seqs, num_kv_heads, num_heads // num_kv_heads * q_len, head_dim)
