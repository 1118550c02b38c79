# expect: `obstacle` was asked about for nothing
from yaie.kernels.ops import BACKENDS, BackendError


def resolve(backend, on_gpu, obstacle):
    reasons = {name: obstacle(name) for name in BACKENDS}
    if backend == "auto":
        return "cuda" if on_gpu and reasons["cuda"] is None else "torch"
    if backend not in reasons:
        raise ValueError(backend)
    if reasons[backend] or backend != "torch" and on_gpu != (backend == "cuda"):
        raise BackendError(f"{backend}: {reasons[backend]}")
    return backend
