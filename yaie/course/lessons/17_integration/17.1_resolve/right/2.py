from yaie.kernels.ops import BackendError


def resolve(backend, on_gpu, obstacle):
    match backend, on_gpu:
        case "torch", _:
            return "torch"
        case "auto", False:
            return "torch"
        case "auto", True:
            return "cuda" if obstacle("cuda") is None else "torch"
        case ("cuda", True) | ("emulator", False):
            if reason := obstacle(backend):
                raise BackendError(reason)
            return backend
        case "cuda" | "emulator", _:
            raise BackendError(f"{backend!r} and these tensors do not go together")
    raise ValueError(backend)
