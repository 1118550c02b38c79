from yaie.kernels.backends import BackendError


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
