from __future__ import annotations

from .. import clinic
from ..common import are_ints, copied_layers, expose, valid


def check() -> None:
    layers = clinic.num_layers()
    valid(are_ints([layers], 1, 8), layers, "an int from 1 to 8")
    expose("10.2", "launch_copy", f"num_layers() == {layers}", lambda: copied_layers(layers))
