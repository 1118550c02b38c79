def part_of(name, shape, num_kv_heads, rank, size):
    def cut(count, part, parts):
        most = (count + parts - 1) // parts
        return slice(part * most, part * most + most)

    rows = slice(0, shape[0])
    columns = [slice(0, count) for count in shape[1:]]
    module = name.rsplit(".", 2)[-2]
    if module in {"k_proj", "v_proj"}:
        heads = max(1, num_kv_heads // size)
        first = rank * num_kv_heads // size
        head_size = shape[0] // num_kv_heads
        rows = slice(first * head_size, (first + heads) * head_size)
    elif module in {"q_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head"}:
        rows = cut(shape[0], rank, size)
    elif module in {"o_proj", "down_proj"}:
        if columns:
            columns = [cut(shape[1], rank, size)]
        elif rank != 0:
            rows = slice(0, 0)
    return (rows, *columns)
