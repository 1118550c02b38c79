"""Calls launchers on a card."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import torch

from ..arguments import Rules, callable_launchers
from ..compiler import as_compile_errors
from ..findings import KernelError, launch_error
from ..launchers import Launcher
from ..source import Source
from .build import build_for_card
from .prebuilt import prebuilt_launchers


class CardLibrary:
    """The launchers of one file for the present card.

    They come from ``yaie_kernels`` if that was built from the same text and no flags are given, else from nvcc.
    """

    device_type = "cuda"

    def __init__(self, source: Source, flags: Sequence[str] = ()) -> None:
        self.source = source
        with as_compile_errors():
            source.refuse_conflicts()
        addresses = None if flags else prebuilt_launchers(source)
        if addresses is None:
            path, self.launchers = build_for_card(source, flags)
            library = ctypes.CDLL(str(path))
            names = [launcher.name for launcher in self.launchers]
            addresses = {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names}
        else:  # of csrc/, whose launchers are written out
            self.launchers = callable_launchers(source, source.text)
        self.addresses = addresses

    def function(self, launcher: Launcher) -> Callable[..., None]:
        """The launcher as a Python function; it launches on the tensors' device and does not wait.

        A step of the engine has hundreds of launches, so what can be decided once is decided here, and a value that is
        right as it is passes without a call of Python. What is not goes to `Rule.convert`, which says why.
        """
        rules = Rules(launcher, self.device_type)
        returns = None if launcher.returns == "void" else ctypes.c_int
        prototype = ctypes.CFUNCTYPE(returns, *(rule.c_type for rule in rules.each))
        launch = prototype(self.addresses[launcher.name])
        plan = [(rule, rule.pointer, rule.dtypes, rule.exact, rule.limits) for rule in rules.each]
        count = len(plan)
        stream_at = next((i for i, rule in enumerate(rules.each) if rule.stream), -1)
        ends_with_stream = stream_at == count - 1
        device_type, Tensor = self.device_type, torch.Tensor
        current_device, current_stream = self.current_device(), self.current_stream()

        def call(*args: object, **kwargs: object) -> None:
            if kwargs or len(args) != count:
                if ends_with_stream and len(args) == count - 1 and not kwargs:
                    args = (*args, None)
                else:
                    args = rules.bind(args, kwargs)
            arguments: list = []
            device = None  # of the first tensor
            for (rule, is_pointer, dtypes, exact, limits), value in zip(plan, args, strict=True):
                if is_pointer:
                    if value is None:
                        arguments.append(None)
                        continue
                    if (
                        not isinstance(value, Tensor)
                        or (dtypes and value.dtype not in dtypes)
                        or not value.is_contiguous()
                        or (device is None and value.device.type != device_type)
                    ):
                        rule.convert(value)  # says what is wrong
                    if device is None:
                        device = value.device
                    elif value.device != device:
                        rule.convert(value)
                        raise ValueError(
                            f"{launcher.name}: `{rule.parameter.name}` is on {value.device}, the tensors before it on "
                            f"{device}"
                        )
                    arguments.append(value.data_ptr())
                elif type(value) is exact and (limits is None or limits[0] <= value <= limits[1]):
                    arguments.append(value)
                else:
                    arguments.append(rule.convert(value))
            current = current_device()
            index = current if device is None else device.index
            if stream_at >= 0 and arguments[stream_at] is None:
                arguments[stream_at] = current_stream(index)
            if index == current:
                error = launch(*arguments)
            else:
                with torch.cuda.device(index):
                    error = launch(*arguments)
            if error:
                raise KernelError([launch_error(launcher, self.error_name(error), self.source)])

        return call

    # torch.cuda.current_device and current_stream are several calls of Python deep; these are what they end in.

    @staticmethod
    def current_device() -> Callable[[], int]:
        return torch._C._cuda_getDevice

    @staticmethod
    def current_stream() -> Callable[[int], int]:
        """The handle of torch's current stream on a device."""
        return torch._C._cuda_getCurrentRawStream

    @staticmethod
    def error_name(error: int) -> str:
        return f"CUDA error {error} ({torch.cuda.cudart().cudaGetErrorString(torch.cuda.cudart().cudaError(error))})"
