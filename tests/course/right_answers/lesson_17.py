"""Three differently written right answers for each exercise of lesson 17."""

ANSWERS = {
    "17.1": (
        """
def choose(backend, operation, on_gpu, tables):
    functions = [tables["torch"][operation]]
    if backend == "auto":
        if on_gpu and operation in tables["cuda"]:
            functions.insert(0, tables["cuda"][operation])
    elif operation in tables[backend]:
        return tables[backend][operation]
    else:
        raise BackendError(f"{backend} cannot do {operation}")

    def run(*args, **kwargs):
        for function in functions[:-1]:
            try:
                return function(*args, **kwargs)
            except BackendError:
                pass
        return functions[-1](*args, **kwargs)

    return run
""",
        """
def choose(backend, operation, on_gpu, tables):
    if backend != "auto":
        try:
            return tables[backend][operation]
        except KeyError:
            raise BackendError(f"no {operation} in {backend}") from None
    torch_function = tables["torch"][operation]
    if not on_gpu:
        return torch_function
    kernel = tables["cuda"].get(operation, torch_function)

    def careful(*args, **kwargs):
        try:
            return kernel(*args, **kwargs)
        except BackendError:
            return torch_function(*args, **kwargs)

    return careful
""",
        """
def choose(backend, operation, on_gpu, tables):
    def kernel_first(*args, **kwargs):
        if operation in tables["cuda"]:
            try:
                return tables["cuda"][operation](*args, **kwargs)
            except BackendError as refused:
                del refused
        return tables["torch"][operation](*args, **kwargs)

    if backend == "auto" and on_gpu:
        return kernel_first
    name = "torch" if backend == "auto" else backend
    found = tables[name].get(operation)
    if found is None:
        raise BackendError(f"{name}: {operation}")
    return found
""",
    ),
    "17.2": (
        """
def reshape_and_cache(backend, key, value, key_cache, value_cache, slot_mapping):
    launch = module("memory/reshape_and_cache.cu", backend).reshape_and_cache
    dtype = key_cache.dtype
    key, value = key.contiguous().to(dtype), value.contiguous().to(dtype)
    slots = slot_mapping.to(torch.int64).contiguous()
    launch(key, value, key_cache, value_cache, slots, key.shape[0], token_bytes(key_cache))
""",
        """
def reshape_and_cache(backend, key, value, key_cache, value_cache, slot_mapping):
    new = [x.to(key_cache.dtype).clone(memory_format=torch.contiguous_format) for x in (key, value)]
    _, _, num_kv_heads, head_dim = key_cache.shape
    module("memory/reshape_and_cache.cu", backend).reshape_and_cache(
        *new, key_cache, value_cache, slot_mapping.long().contiguous(), slot_mapping.numel(),
        num_kv_heads * head_dim * key_cache.element_size(),
    )
""",
        """
def reshape_and_cache(backend, key, value, key_cache, value_cache, slot_mapping):
    num_tokens = len(slot_mapping)
    flat_key = key.to(key_cache.dtype).reshape(num_tokens, -1).contiguous()
    flat_value = value.to(value_cache.dtype).reshape(num_tokens, -1).contiguous()
    arguments = dict(key=flat_key, value=flat_value, key_cache=key_cache, value_cache=value_cache)
    module("memory/reshape_and_cache.cu", backend).reshape_and_cache(
        **arguments,
        slot_mapping=slot_mapping.type(torch.long).contiguous(),
        num_tokens=num_tokens,
        token_bytes=flat_key.shape[1] * flat_key.element_size(),
    )
""",
    ),
    "17.3": (
        """
def bucket_for(num_seqs, sizes):
    for size in sizes:
        if size >= num_seqs:
            return size
    return None
""",
        """
def bucket_for(num_seqs, sizes):
    return next((size for size in sizes if size >= num_seqs), None)
""",
        """
def bucket_for(num_seqs, sizes):
    fitting = [size for size in sizes if not size < num_seqs]
    return min(fitting) if fitting else None
""",
    ),
    "17.4": (
        """
def fill(static, batch):
    num_seqs = len(batch.token_ids)
    static.token_ids.zero_()
    static.context_lens.zero_()
    static.slot_mapping.fill_(-1)
    for name in ("token_ids", "positions", "slot_mapping", "context_lens"):
        getattr(static, name)[:num_seqs].copy_(getattr(batch, name))
    static.block_tables[:num_seqs, : batch.block_tables.shape[1]].copy_(batch.block_tables)
""",
        """
def fill(static, batch):
    n, width = batch.block_tables.shape
    for name, padding in {"token_ids": 0, "positions": 0, "slot_mapping": -1, "context_lens": 0}.items():
        target = getattr(static, name)
        target[n:] = padding
        target[:n] = getattr(batch, name)
    static.block_tables.zero_()
    static.block_tables[:n, :width] = batch.block_tables
""",
        """
def fill(static, batch):
    size, n = len(static.token_ids), len(batch.query_lens)
    for row in range(size):
        real = row < n
        static.token_ids[row] = batch.token_ids[row] if real else 0
        static.positions[row] = batch.positions[row] if real else 0
        static.slot_mapping[row] = batch.slot_mapping[row] if real else -1
        static.context_lens[row] = batch.context_lens[row] if real else 0
        if real:
            static.block_tables[row, : batch.block_tables.shape[1]] = batch.block_tables[row]
""",
    ),
}
