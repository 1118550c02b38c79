# expect: numbers in a head: 2
def group_heads(query, num_kv_heads):
    s, q, h, d = query.shape
    return query.transpose(1, 2).reshape(s, num_kv_heads, d, -1).transpose(2, 3)
