from __future__ import annotations

import math

from .. import clinic
from ..common import expose, punished, valid


def check() -> None:
    logit = clinic.logit_to_punish()
    ok = isinstance(logit, int | float) and not isinstance(logit, bool) and math.isfinite(logit)
    valid(ok and -20 <= logit <= 20, logit, "a number from -20 to 20")
    expose("10.6", "apply_penalties", f"logit_to_punish() == {logit}", lambda: punished([[float(logit), 0.0]]))
