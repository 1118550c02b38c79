# expect: A backend that was asked for by name was replaced by torch
from yaie.kernels.ops import BACKENDS, BackendError


def resolve(backend, on_gpu, obstacle):
    if backend not in ("auto", *BACKENDS):
        raise ValueError(backend)
    wanted = "cuda" if backend == "auto" and on_gpu else backend
    if wanted in ("auto", "torch") or obstacle(wanted):
        return "torch"
    if on_gpu != (wanted == "cuda"):
        raise BackendError(f"{wanted}: the tensors are in the wrong place")
    return wanted
