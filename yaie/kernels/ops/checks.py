"""What the checked functions of all families have in common; their checks are made of `kernels.checks`."""

from __future__ import annotations

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


def run(backend: Backend, operation: str, tensor: Tensor, *arguments: Any, **more: Any) -> Any:
    """Call an operation of the backend that computes for tensors where `tensor` is."""
    if not isinstance(backend, str):
        known = callable(getattr(backend, operation, None))
        require(known, "backend must be a name or the operations of a backend", backend)
        return getattr(backend, operation)(*arguments, **more)
    name = ops.resolve(backend, tensor.is_cuda, ops.obstacle)
    try:
        return getattr(ops.operations(name), operation)(*arguments, **more)
    except BackendError:
        if backend != "auto" or name == "torch":
            raise
        return getattr(ops.operations("torch"), operation)(*arguments, **more)
