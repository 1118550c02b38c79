"""What the checked functions of all families have in common; their checks are made of `kernels.checks`."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from yaie.kernels import ops
from yaie.kernels.checks import require
from yaie.kernels.ops.launching import BackendError, Family

Backend = str | Family  # "auto", the name of a backend, or its operations


def checked(contract: Any) -> Callable[[Callable], Callable]:
    """Adds what its namesake in `contract` (a class or a module) says about itself to what a function says."""

    def add(function: Callable) -> Callable:
        said = inspect.getdoc(getattr(contract, function.__name__)), function.__doc__
        function.__doc__ = "\n\n".join(filter(None, said))
        return function

    return add


def run(backend: Backend, operation: str, tensor: Tensor, *arguments: Any) -> Any:
    """Call an operation of the backend that computes for tensors where `tensor` is."""
    return found(backend, operation, tensor)(*arguments)


def found(backend: Backend, operation: str, tensor: Tensor) -> Callable:
    """What `run` calls."""
    if not isinstance(backend, str):
        known = callable(getattr(backend, operation, None))
        require(known, "backend must be a name or the operations of a backend", backend)
        return getattr(backend, operation)
    name = ops.resolve(backend, tensor.is_cuda, ops.obstacle)
    kernels, by_torch = (getattr(ops.operations(each), operation) for each in (name, "torch"))

    def where_kernels_refuse(*arguments: Any) -> Any:
        try:
            return kernels(*arguments)
        except BackendError:
            return by_torch(*arguments)

    return where_kernels_refuse if backend == "auto" and name != "torch" else kernels
