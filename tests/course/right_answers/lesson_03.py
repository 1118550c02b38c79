"""Three differently written right answers for each exercise of lesson 03."""

ANSWERS = {
    "3.1": (
        """
def causal_mask(q_len, kv_len, offset, device=None):
    rows = [[key <= offset + query for key in range(kv_len)] for query in range(q_len)]
    return torch.tensor(rows, dtype=torch.bool, device=device)
""",
        """
def causal_mask(q_len, kv_len, offset, device=None):
    return torch.ones(q_len, kv_len, dtype=torch.bool, device=device).tril(offset)
""",
        """
def causal_mask(q_len, kv_len, offset, device=None):
    queries = torch.arange(q_len, device=device).unsqueeze(1) + offset
    keys = torch.arange(kv_len, device=device).unsqueeze(0)
    return ~(keys > queries)
""",
    ),
    "3.2": (
        """
def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    out = torch.empty_like(x)
    out[..., :half] = a * cos - b * sin
    out[..., half:] = b * cos + a * sin
    return out
""",
        """
def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    turned = torch.cat((-b, a), dim=-1)
    return (x * torch.cat((cos, cos), dim=-1) + turned * torch.cat((sin, sin), dim=-1)).to(x.dtype)
""",
        """
def rotate(x, cos, sin):
    a, b = x.float().chunk(2, dim=-1)
    turned = torch.complex(a, b) * torch.complex(cos.float(), sin.float())
    return torch.cat((turned.real, turned.imag), dim=-1).to(x.dtype)
""",
    ),
    "3.3": (
        """
def group_heads(query, num_kv_heads):
    groups = query.chunk(num_kv_heads, dim=2)
    return torch.stack([group.transpose(1, 2).flatten(1, 2) for group in groups], dim=1)
""",
        """
def group_heads(query, num_kv_heads):
    num_seqs, q_len, num_heads, head_dim = query.shape
    return query.transpose(1, 2).reshape(num_seqs, num_kv_heads, num_heads // num_kv_heads * q_len, head_dim)
""",
        """
def group_heads(query, num_kv_heads):
    num_seqs, q_len, num_heads, head_dim = query.shape
    group = num_heads // num_kv_heads
    out = query.new_empty(num_seqs, num_kv_heads, group * q_len, head_dim)
    for k in range(num_kv_heads):
        for g in range(group):
            out[:, k, g * q_len : (g + 1) * q_len] = query[:, :, k * group + g]
    return out
""",
    ),
    "3.4": (
        """
def gather_pages(cache, block_table, context_len):
    block_size = cache.shape[1]
    positions = torch.arange(context_len)
    blocks = block_table.long()[positions // block_size]
    return cache[blocks, positions % block_size]
""",
        """
def gather_pages(cache, block_table, context_len):
    rows = []
    for position in range(context_len):
        entry, row = divmod(position, cache.shape[1])
        rows.append(cache[int(block_table[entry]), row])
    return torch.stack(rows)
""",
        """
def gather_pages(cache, block_table, context_len):
    pages, left = [], context_len
    for block_id in block_table.tolist():
        if left <= 0:
            break
        pages.append(cache[block_id, :left])
        left -= cache.shape[1]
    return torch.cat(pages).clone()
""",
    ),
    "3.5": (
        """
def attention(query, key, value, mask=None, scale=None):
    num_seqs, q_len, num_heads, head_dim = query.shape
    dtype = torch.promote_types(query.dtype, torch.float32)
    if scale is None:
        scale = 1 / math.sqrt(head_dim)
    group = num_heads // key.shape[2]
    keys = key.to(dtype).repeat_interleave(group, dim=2)
    values = value.to(dtype).repeat_interleave(group, dim=2)
    scores = torch.einsum("sihd,sjhd->shij", query.to(dtype), keys) * scale
    if mask is not None:
        hidden = ~mask if mask.ndim == 2 else ~mask[:, None]
        scores = scores.masked_fill(hidden, -math.inf)
    lse = scores.logsumexp(dim=-1)
    weights = scores.softmax(dim=-1).nan_to_num(0.0)
    return torch.einsum("shij,sjhd->sihd", weights, values), lse.transpose(1, 2)
""",
        """
def attention(query, key, value, mask=None, scale=None):
    q_len = query.shape[1]
    dtype = torch.promote_types(query.dtype, torch.float32)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = group_heads(query.to(dtype), key.shape[2]) @ key.to(dtype).permute(0, 2, 3, 1)
    scores = (scores * scale).unflatten(2, (-1, q_len))
    if mask is not None:
        every = mask.expand(query.shape[0], *mask.shape[-2:])[:, None, None]
        scores = torch.where(every, scores, -math.inf)
    scores = scores.flatten(2, 3)
    lse = torch.logsumexp(scores, dim=-1, keepdim=True)
    weights = torch.where(lse == -math.inf, 0.0, scores.softmax(dim=-1))
    out = weights @ value.to(dtype).transpose(1, 2)
    return ungroup_heads(out, q_len), ungroup_heads(lse, q_len)[..., 0]
""",
        """
def attention(query, key, value, mask=None, scale=None):
    num_seqs, q_len, num_heads, head_dim = query.shape
    if query.dtype != torch.float64:
        query = query.float()
    if scale is None:
        scale = head_dim**-0.5
    group = num_heads // key.shape[2]
    out = torch.zeros_like(query)
    lse = torch.full((num_seqs, q_len, num_heads), -math.inf, dtype=query.dtype)
    for s in range(num_seqs):
        for h in range(num_heads):
            keys, values = key[s, :, h // group].to(query.dtype), value[s, :, h // group].to(query.dtype)
            for i in range(q_len):
                scores = keys @ query[s, i, h] * scale
                seen = values
                if mask is not None:
                    row = mask[i] if mask.ndim == 2 else mask[s, i]
                    scores, seen = scores[row], values[row]
                if len(scores):
                    lse[s, i, h] = torch.logsumexp(scores, 0)
                    out[s, i, h] = torch.softmax(scores, 0) @ seen
    return out, lse
""",
    ),
}
