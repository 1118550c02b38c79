"""The operations as functions: arguments are checked here, then the chosen backend computes.

`backend` is "torch", "cuda" or "emulator", "auto" (the kernels for tensors on a GPU, torch for all others and where the
kernels refuse), or an `Operations` object. A backend that was asked for by name and cannot do what is asked (no GPU
here, a dtype that the kernel does not take) raises `BackendError`; nothing is computed by another one instead. Every
function raises ValueError for shapes, dtypes, lengths, ids or devices that do not fit, and has changed nothing then.

Each function is written where its operation is, in the file of its family in `kernels.ops`.
"""

# ruff: noqa: F403
from yaie.kernels.ops import BackendError as BackendError
from yaie.kernels.ops import available_backends as available_backends
from yaie.kernels.ops.attention import *
from yaie.kernels.ops.memory import *
from yaie.kernels.ops.model import *
from yaie.kernels.ops.paged_attention import *
from yaie.kernels.ops.radix import *
from yaie.kernels.ops.sampling import *
