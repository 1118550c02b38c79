# expect: The result is float32 whatever `query` is.
import torch


def group_heads(query, num_kv_heads):
    num_seqs, q_len, num_heads, head_dim = query.shape
    group = num_heads // num_kv_heads
    out = torch.empty(num_seqs, num_kv_heads, group * q_len, head_dim)
    for head in range(num_heads):
        first = head % group * q_len
        out[:, head // group, first : first + q_len] = query[:, :, head]
    return out
