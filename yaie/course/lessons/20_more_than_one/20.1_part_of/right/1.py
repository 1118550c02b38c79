from yaie.parallel.shards import BY_INPUTS, BY_OUTPUTS, span


def part_of(name, shape, num_kv_heads, rank, size):
    module, kind = name.split(".")[-2:]
    part = [slice(None)] * len(shape)
    if module in BY_OUTPUTS:
        if module in ("k_proj", "v_proj") and num_kv_heads < size:
            ranks_per_head = size // num_kv_heads
            part[0] = span(shape[0], rank // ranks_per_head, num_kv_heads)
        else:
            part[0] = span(shape[0], rank, size)
    elif module in BY_INPUTS and kind == "weight":
        part[1] = span(shape[1], rank, size)
    elif module in BY_INPUTS and rank > 0:
        part[0] = slice(0, 0)
    return tuple(part)
