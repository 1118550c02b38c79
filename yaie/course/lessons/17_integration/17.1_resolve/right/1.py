from yaie.kernels.ops import BACKENDS, BackendError


def resolve(backend, on_gpu, obstacle):
    if backend == "auto":
        if not on_gpu:
            return "torch"
        return "torch" if obstacle("cuda") else "cuda"
    if backend not in BACKENDS:
        raise ValueError(f"no backend {backend!r}")
    if (backend, on_gpu) in {("cuda", False), ("emulator", True)}:
        raise BackendError(f"{backend} cannot read these tensors")
    reason = obstacle(backend)
    if reason is not None:
        raise BackendError(f"{backend}: {reason}")
    return backend
