from yaie.kernels.backends import BackendError


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
