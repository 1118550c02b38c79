# expect: number of times that `obstacle` was asked
from yaie.kernels.ops import BACKENDS, BackendError


def resolve(backend, on_gpu, obstacle):
    if backend == "auto":
        return "cuda" if on_gpu and obstacle("cuda") is None else "torch"
    if backend not in BACKENDS:
        raise ValueError(backend)
    if obstacle(backend) is not None:
        raise BackendError(f"{backend}: {obstacle(backend)}")
    if backend != "torch" and on_gpu != (backend == "cuda"):
        raise BackendError(f"{backend}: the tensors are in the wrong place")
    return backend
