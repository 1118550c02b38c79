"""The lessons: a folder each, in it a folder for each exercise, see `yaie.course.registry`.

`12_paged_attention/12.3_warp_dot/check.py` is imported as `yaie.course.lessons.lesson_12.exercise_3.check`: the names
of the folders give the order and are no names in Python. So `from ..common import decode` in a check is the lesson's
own `common.py`, and `from ...lesson_13.common import attend` that of another lesson.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path


class Folders:
    """Finds the packages `lesson_12` and `lesson_12.exercise_3`; what lies in them is found as in any package."""

    PATTERNS = {"lesson": "{}_*", "exercise": "*.{}_*"}

    @classmethod
    def find_spec(cls, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        kind, _, number = fullname.rpartition(".")[2].partition("_")
        if not fullname.startswith(f"{__name__}.") or kind not in cls.PATTERNS or not number.isdecimal():
            return None
        found = [folder for each in path or () for folder in Path(each).glob(cls.PATTERNS[kind].format(number))]
        if not found:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(found[0])]
        return spec


sys.meta_path.append(Folders)
