# expect: The numbers of a head were separated
def group_heads(query, num_kv_heads):
    s, q, h, d = query.shape
    return query.transpose(1, 3).reshape(s, num_kv_heads, -1, d)
