from yaie.parallel.shards import BY_INPUTS, BY_OUTPUTS, span


def part_of(name, shape, num_kv_heads, rank, size):
    everything = tuple(slice(0, count) for count in shape)
    module = name.split(".")[-2]
    dimension = 0 if module in BY_OUTPUTS else 1 if module in BY_INPUTS else None
    if dimension is None:
        return everything
    if dimension == len(shape):
        return everything if rank == 0 else (slice(0, 0),)
    part, parts = rank, size
    if module[:2] in ("k_", "v_"):
        while parts > num_kv_heads:
            part, parts = part // 2, parts // 2
    cut = span(shape[dimension], part, parts)
    return tuple(cut if each == dimension else whole for each, whole in enumerate(everything))
