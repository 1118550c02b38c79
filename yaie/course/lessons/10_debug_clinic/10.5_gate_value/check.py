from __future__ import annotations

import math

from .. import clinic
from ..common import expose, gated, valid


def check() -> None:
    z = clinic.gate_value()
    number = isinstance(z, int | float) and not isinstance(z, bool)
    valid(number and math.isfinite(z) and abs(z) <= 1000, z, "a finite number from -1000 to 1000")
    expose("10.6", "silu_mul_kernel", f"gate_value() == {z}", lambda: [round(gated([z]).item(), 4)])
