def group_heads(query, num_kv_heads):
    num_seqs, q_len, num_heads, head_dim = query.shape
    group = num_heads // num_kv_heads
    out = query.new_empty(num_seqs, num_kv_heads, group * q_len, head_dim)
    for k in range(num_kv_heads):
        for g in range(group):
            out[:, k, g * q_len : (g + 1) * q_len] = query[:, :, k * group + g]
    return out
