# expect: There is no backend 'CUDA'
from yaie.kernels.ops import BACKENDS, BackendError


def resolve(backend, on_gpu, obstacle):
    if backend == "auto":
        return "cuda" if on_gpu and obstacle("cuda") is None else "torch"
    backend = backend.lower()
    if backend not in BACKENDS:
        raise ValueError(backend)
    if reason := obstacle(backend):
        raise BackendError(f"{backend}: {reason}")
    if backend != "torch" and on_gpu != (backend == "cuda"):
        raise BackendError(f"{backend}: the tensors are in the wrong place")
    return backend
