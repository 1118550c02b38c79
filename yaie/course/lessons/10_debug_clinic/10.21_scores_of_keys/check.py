from __future__ import annotations

from .. import clinic
from ..common import expose, mean_by_scores, valid


def check() -> None:
    scores = clinic.scores_of_keys()
    ok = isinstance(scores, list | tuple) and 1 <= len(scores) <= 100
    ok = ok and all(isinstance(s, int | float) and not isinstance(s, bool) and -20 <= s <= 20 for s in scores)
    valid(ok, scores, "1 to 100 numbers from -20 to 20")
    text = f"scores_of_keys() == {list(scores)}"
    expose("10.22", "take_scores", text, lambda: round(mean_by_scores(list(map(float, scores))), 3))
