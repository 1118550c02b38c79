"""Three differently written right answers for each exercise of lesson 04."""

ANSWERS = {
    "4.1": (
        """
def apply_temperature(logits, temperature):
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    best = torch.full_like(logits, -math.inf)
    best[torch.arange(len(logits)), logits.argmax(dim=-1)] = 0
    return torch.where(temperature[:, None] == 0, best, shifted / temperature[:, None])
""",
        """
def apply_temperature(logits, temperature):
    rows = []
    for row, t in zip(logits, temperature.tolist()):
        if t > 0:
            rows.append((row - row.max()) / t)
        else:
            greedy = torch.full_like(row, -math.inf)
            greedy[row.argmax()] = 0.0
            rows.append(greedy)
    return torch.stack(rows)
""",
        """
def apply_temperature(logits, temperature):
    result = logits.sub(logits.max(dim=-1, keepdim=True).values)
    warm = temperature > 0
    result[warm] = result[warm] / temperature[warm].unsqueeze(1)
    ids = torch.arange(logits.shape[1]).expand_as(logits)
    first = logits.argmax(dim=-1, keepdim=True)
    result[~warm] = result[~warm].masked_fill(ids[~warm] != first[~warm], float("-inf"))
    return result
""",
    ),
    "4.2": (
        """
def keep_largest(logits, counts):
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    places = torch.arange(logits.shape[-1]).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    return logits.masked_fill(rank >= counts[:, None], -math.inf)
""",
        """
def keep_largest(logits, counts):
    result = torch.full_like(logits, -math.inf)
    for row, count in enumerate(counts.tolist()):
        order = torch.sort(logits[row], descending=True, stable=True).indices[:count]
        result[row, order] = logits[row, order]
    return result
""",
        """
def keep_largest(logits, counts):
    rows = []
    for row, count in zip(logits.tolist(), counts.tolist()):
        kept = set(sorted(range(len(row)), key=lambda i: -row[i])[:count])
        rows.append([x if i in kept else -math.inf for i, x in enumerate(row)])
    return torch.tensor(rows)
""",
    ),
    "4.3": (
        """
def keep_top_p(logits, top_p):
    probs = logits.softmax(dim=-1).double().sort(dim=-1, descending=True).values
    before = probs.cumsum(dim=-1) - probs
    counts = (before < top_p[:, None]).sum(dim=-1)
    counts[top_p == 1] = logits.shape[-1]
    return keep_largest(logits, counts)
""",
        """
def keep_top_p(logits, top_p):
    result = logits.clone()
    for row, threshold in enumerate(top_p.tolist()):
        if threshold == 1:
            continue
        probs, order = logits[row].double().softmax(dim=-1).sort(descending=True, stable=True)
        before = probs.cumsum(dim=0) - probs
        result[row, order[before >= threshold]] = -math.inf
    return result
""",
        """
def keep_top_p(logits, top_p):
    probs = logits.double().softmax(dim=-1)
    counts = []
    for row, threshold in zip(probs.tolist(), top_p.tolist()):
        mass, count = 0.0, 0
        for p in sorted(row, reverse=True):
            if threshold < 1 and mass >= threshold:
                break
            mass, count = mass + p, count + 1
        counts.append(count)
    return keep_largest(logits, torch.tensor(counts))
""",
    ),
    "4.4": (
        """
def draw_tokens(probs, uniforms):
    ends = probs.double().cumsum(dim=-1)
    return torch.searchsorted(ends, uniforms[:, None] * ends[:, -1:], right=True)[:, 0]
""",
        """
def draw_tokens(probs, uniforms):
    ends = probs.to(torch.float64).cumsum(dim=1)
    target = uniforms.unsqueeze(1) * ends[:, -1].unsqueeze(1)
    return (ends <= target).sum(dim=1)
""",
        """
def draw_tokens(probs, uniforms):
    tokens = []
    for row, u in zip(probs.tolist(), uniforms.tolist()):
        target, end = u * sum(row), 0.0
        for token, p in enumerate(row):
            end += p
            if target < end:
                break
        tokens.append(token)
    return torch.tensor(tokens)
""",
    ),
    "4.5": (
        """
def draw_uniforms(num_seqs, generator=None):
    if not isinstance(generator, (list, tuple)):
        generator = [generator] * num_seqs
    return torch.stack([torch.rand((), dtype=torch.float64, generator=g) for g in generator])
""",
        """
def draw_uniforms(num_seqs, generator=None):
    if generator is None or isinstance(generator, torch.Generator):
        return torch.rand(num_seqs, dtype=torch.float64, generator=generator)
    return torch.cat([torch.rand(1, dtype=torch.float64, generator=g) for g in generator])
""",
        """
def draw_uniforms(num_seqs, generator=None):
    shared = generator is None or isinstance(generator, torch.Generator)
    numbers = torch.empty(num_seqs, dtype=torch.float64)
    for row in range(num_seqs):
        numbers[row].uniform_(generator=generator if shared else generator[row])
    return numbers
""",
    ),
}
