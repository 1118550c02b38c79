"""What a launcher's parameters take from Python: one set of rules for every way in which a launcher can be called.

A pointer takes a contiguous tensor of its dtype on the right kind of device, or None; a number takes one that fits; a
struct of numbers takes a mapping, named tuple or dataclass with its fields, or a ready struct (``module.structs``); a
stream takes a ``torch.cuda.Stream``, its handle, or None for the current one. What does not fit is refused.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import inspect
import keyword
import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .compiler import CompileError, as_compile_errors
from .launchers import NUMBERS, STREAMS, Launcher, Parameter, Struct, find_launchers
from .source import Source, digest

# The dtypes that a pointer type takes; the first is the one that messages ask for.
POINTERS: dict[str, tuple[torch.dtype, ...]] = {
    **dict.fromkeys(["float", "float2", "float3", "float4"], (torch.float32,)),
    **dict.fromkeys(["double", "double2"], (torch.float64,)),
    **dict.fromkeys(["half", "__half", "half2", "__half2"], (torch.float16,)),
    **dict.fromkeys(["__nv_bfloat16", "nv_bfloat16", "__nv_bfloat162", "nv_bfloat162"], (torch.bfloat16,)),
    **dict.fromkeys(["int", "int32_t", "int2", "int3", "int4"], (torch.int32,)),
    **dict.fromkeys(["unsigned", "unsigned int", "uint32_t", "uint2", "uint4"], (torch.uint32, torch.int32)),
    **dict.fromkeys(["long", "long long", "int64_t", "longlong2"], (torch.int64,)),
    **dict.fromkeys(["unsigned long", "unsigned long long", "uint64_t", "size_t"], (torch.uint64, torch.int64)),
    **dict.fromkeys(["short", "int16_t"], (torch.int16,)),
    **dict.fromkeys(["unsigned short", "uint16_t"], (torch.uint16, torch.int16)),
    **dict.fromkeys(["char", "signed char", "int8_t"], (torch.int8,)),
    **dict.fromkeys(["unsigned char", "uint8_t", "uchar4"], (torch.uint8,)),
    "bool": (torch.bool,),
    "void": (),  # any
}


def limits(kind: str) -> tuple[float, float]:
    """The smallest and the largest finite value of a number type."""
    if kind in ("float", "double"):
        largest = torch.finfo(torch.float32 if kind == "float" else torch.float64).max
        return -largest, largest
    if kind == "bool":
        return False, True
    c_type = NUMBERS[kind]
    bits = 8 * ctypes.sizeof(c_type)
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if c_type(-1).value < 0 else (0, (1 << bits) - 1)


LIMITS = {kind: limits(kind) for kind in NUMBERS}
EXACT = {kind: {"bool": bool, "float": float, "double": float}.get(kind, int) for kind in NUMBERS}


def check_number(where: str, name: str, kind: str, value: object) -> Any:
    """The C value of type ``kind``; raises for one that does not fit instead of wrapping round."""
    if kind == "bool":
        return ctypes.c_bool(_truth(where, name, value))
    low, high = LIMITS[kind]
    if EXACT[kind] is float:
        try:
            if isinstance(value, (str, bytes, bytearray)):  # which float() reads
                raise TypeError
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise TypeError(f"{where}: `{name}` must be a number ({kind}), got {type(value).__name__}") from None
        if not low <= number <= high and math.isfinite(number):
            raise ValueError(f"{where}: `{name}` = {number} does not fit {kind} ({low} to {high})")
        return NUMBERS[kind](number)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{where}: `{name}` must be an integer ({kind}), got {type(value).__name__} {value!r}"
        ) from None
    if not low <= number <= high:
        raise ValueError(f"{where}: `{name}` = {number} does not fit {kind} ({low} to {high})")
    return NUMBERS[kind](number)


def _truth(where: str, name: str, value: object) -> bool:
    """What is true or false, and not what Python takes for it: "no" and [0] are true to Python."""
    scalar = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    if isinstance(scalar, int) and scalar in (0, 1):
        return bool(scalar)
    raise TypeError(f"{where}: `{name}` must be True or False (bool), got {type(value).__name__} {value!r}")


# ---- structs


class StructValue(ctypes.Structure):
    """A struct for a launcher's parameter, made from all its fields; every value that is set is checked.

    A launcher takes it as it is, so one that is kept between launches is not checked again.
    """

    struct: Struct

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()
        name, fields = self.struct.name, [field for field, _ in self.struct.fields]
        if len(args) > len(fields):
            raise TypeError(f"{name} has {len(fields)} fields ({', '.join(fields)}), got {len(args)} values")
        given = dict(zip(fields, args, strict=False))
        if twice := given.keys() & kwargs.keys():
            raise TypeError(f"{name}: field `{min(twice)}` is given twice")
        self._fill(name, "", given | kwargs)

    @classmethod
    def of(cls, where: str, parameter: str, given: Mapping[str, object]) -> StructValue:
        """From the fields that were given for a launcher's parameter, which messages name."""
        value = cls.__new__(cls)
        value._fill(where, f"{parameter}.", given)
        return value

    def _fill(self, where: str, prefix: str, given: Mapping[str, object]) -> None:
        struct = self.struct
        fields = dict(struct.fields)
        if missing := [f"`{prefix}{name}`" for name in fields if name not in given]:
            raise TypeError(f"{where}: missing {', '.join(missing)}; {struct.name} has {', '.join(fields)}")
        for name, value in given.items():
            if name not in fields:
                raise TypeError(f"{where}: there is no `{prefix}{name}`; {struct.name} has {', '.join(fields)}")
            super().__setattr__(name, check_number(where, f"{prefix}{name}", fields[name], value))

    def __setattr__(self, field: str, value: object) -> None:
        kind = dict(self.struct.fields).get(field)
        if kind is None:
            fields = ", ".join(name for name, _ in self.struct.fields)
            raise AttributeError(f"{self.struct.name} has no field `{field}`; it has {fields}")
        super().__setattr__(field, check_number(self.struct.name, field, kind, value))

    def __repr__(self) -> str:
        return f"{self.struct.name}({', '.join(f'{name}={getattr(self, name)}' for name, _ in self.struct.fields)})"


@functools.cache  # so that files which share a struct take each other's values
def struct_type(struct: Struct) -> type[StructValue]:
    """The ctypes class of a struct."""
    return type(struct.name, (StructValue,), {"_fields_": struct.c_fields, "struct": struct})


def _fields_of(value: object) -> Mapping[str, object] | None:
    """The fields of a mapping, a named tuple or a dataclass; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


# ---- the rules


class Rule:
    """What one parameter takes: ``convert`` checks any value; the rest tells quickly that a value is right as it is.

    A tensor is right for a pointer if its dtype is one of ``dtypes`` (none: any), it is contiguous and on
    ``device_type``; a value is right for anything else if its type is ``exact`` and it lies within ``limits`` (if any).
    """

    def __init__(self, launcher: str, p: Parameter, device_type: str) -> None:
        self.launcher, self.parameter, self.device_type = launcher, p, device_type
        self.pointer, self.stream = p.pointer, not p.pointer and p.type in STREAMS
        self.dtypes = POINTERS[p.type] if p.pointer else ()
        self.exact: type = type(None)
        self.limits: tuple[float, float] | None = None
        self.c_type: type = ctypes.c_void_p
        if not p.pointer and p.type in NUMBERS:
            self.exact, self.limits, self.c_type = EXACT[p.type], LIMITS[p.type], NUMBERS[p.type]
        elif p.struct:
            self.exact = self.c_type = struct_type(p.struct)

    def convert(self, value: object) -> Any:
        """What a call of C takes: a tensor or None (the caller knows its address), a ctypes value, a stream's handle or
        None. Raises TypeError or ValueError, which names launcher and parameter."""
        p = self.parameter
        if self.pointer:
            return self._tensor(value)
        if self.stream:
            return self._stream(value)
        if p.struct:
            return self._struct(p.struct, value)
        return check_number(self.launcher, p.name, p.type, value)

    def _tensor(self, value: object) -> torch.Tensor | None:
        where, p = self.launcher, self.parameter
        if value is None:
            return None
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{where}: `{p.name}` must be a tensor ({p.declared}), got {type(value).__name__}")
        if self.dtypes and value.dtype not in self.dtypes:
            names = " or ".join(str(d) for d in self.dtypes)
            raise TypeError(f"{where}: `{p.name}` is {p.declared}, so it must be {names}, got {value.dtype}")
        if value.device.type != self.device_type:
            raise ValueError(f"{where}: `{p.name}` must be on {self.device_type}, is on {value.device}")
        if not value.is_contiguous():
            raise ValueError(
                f"{where}: `{p.name}` must be contiguous, has shape {list(value.shape)} and strides "
                f"{list(value.stride())}; pass .contiguous() if the launcher only reads it"
            )
        return value

    def _stream(self, value: object) -> int | None:
        if value is None:
            return None
        try:
            return operator.index(getattr(value, "cuda_stream", value))  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(
                f"{self.launcher}: `{self.parameter.name}` must be a torch.cuda.Stream, the handle of one or None, got "
                f"{type(value).__name__}"
            ) from None

    def _struct(self, struct: Struct, value: object) -> StructValue:
        where, name = self.launcher, self.parameter.name
        if type(value) is self.c_type:
            return value
        fields = _fields_of(value)
        if fields is None:
            raise TypeError(
                f"{where}: `{name}` must be a mapping, named tuple or dataclass with the fields of {struct.name} "
                f"({', '.join(each for each, _ in struct.fields)}), or a {struct.name} of module.structs; got "
                f"{type(value).__name__}"
            )
        return self.c_type.of(where, name, fields)


class Rules:
    """The rules for all parameters of a launcher, whose tensors must be on ``device_type``, "cuda" or "cpu"."""

    def __init__(self, launcher: Launcher, device_type: str) -> None:
        self.launcher = launcher
        self.each = [Rule(launcher.name, p, device_type) for p in launcher.parameters]
        self.signature = signature_of(launcher)

    def bind(self, args: Sequence, kwargs: Mapping[str, object]) -> list:
        """The parameters' values in order, not checked yet; None for a stream that is left out."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.launcher.name}{self.signature}: {error}") from None
        return [bound.arguments.get(name) for name in self.signature.parameters]


def signature_of(launcher: Launcher) -> inspect.Signature:
    """Its signature in Python: streams at the end may be left out."""
    parameters: list[inspect.Parameter] = []
    optional = True
    for p, name in reversed(list(zip(launcher.parameters, python_names(launcher), strict=True))):
        optional = optional and p.type in STREAMS
        default = None if optional else inspect.Parameter.empty
        parameters.insert(0, inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default))
    return inspect.Signature(parameters)


def python_names(launcher: Launcher) -> list[str]:
    """The names by which Python passes the parameters: keywords of Python take an underscore, as in `lambda_`."""
    taken = {p.name for p in launcher.parameters}
    names = []
    for p in launcher.parameters:
        name = p.name
        while keyword.iskeyword(name) or (name != p.name and name in taken):
            name += "_"
        names.append(name)
    return names


def callable_launchers(source: Source, text: str) -> tuple[Launcher, ...]:
    """The launchers of a file, of which a preprocessor made ``text``. Raises CompileError for one that cannot be read,
    or with a parameter that Python cannot fill."""
    with as_compile_errors():
        launchers = find_launchers(text, source.path)
    for launcher in launchers:
        for p in launcher.parameters:
            known = p.type in POINTERS if p.pointer else p.type in NUMBERS or p.type in STREAMS or p.struct
            if not known:
                raise CompileError(
                    f"{source.path.name}:{launcher.line}: launcher {launcher.name}: parameter `{p.name}` has type "
                    f"{p.declared}, which Python cannot pass; use pointers to CUDA's number types, numbers, "
                    "cudaStream_t or a struct of numbers, defined in the file or in a local header",
                    str(source.path),
                    launcher.line,
                )
    return tuple(launchers)


@functools.lru_cache
def reading_digest() -> str:
    """Of what reads a file's launchers: a build that keeps them is made anew when that changes."""
    here = Path(__file__).parent
    return digest(*((here / name).read_bytes() for name in ("arguments.py", "launchers.py", "source.py")))
