from yaie.kernels.ops import BACKENDS, BackendError

PLACES = {"torch": (False, True), "cuda": (True,), "emulator": (False,)}


def resolve(backend, on_gpu, obstacle):
    if backend not in (*BACKENDS, "auto"):
        raise ValueError(f"{backend!r} is none of {BACKENDS}")
    name = ("torch", "cuda")[on_gpu] if backend == "auto" else backend
    reason = obstacle(name) if name != "torch" else None
    if reason is None and on_gpu in PLACES[name]:
        return name
    if backend == "auto":
        return "torch"
    raise BackendError(f"{name} cannot compute here: {reason or 'the tensors are in the wrong place'}")
