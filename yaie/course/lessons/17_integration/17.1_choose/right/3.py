from yaie.kernels.backends import BackendError


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
