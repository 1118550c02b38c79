"""What reading a learner's file gives: a function as it stands there, or why it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from yaie.course.registry import Exercise


class FileProblem(Exception):
    """Why a learner's file cannot be checked: a sentence, and the next step."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.problem, self.next_step = problem, next_step


class FileMissing(FileProblem):
    """The exercise file is not there."""


@dataclass(frozen=True)
class Written:
    """One function as it stands in the learner's file, in lines `first_line` to `last_line` (from 1).

    `hash` changes with the function and with whatever else in the file the function uses (helpers, imports), but not
    with comments, blank lines or the other exercises. It is empty while nothing has been written. `remark` is what
    strikes one on reading it.
    """

    exercise: Exercise
    attempted: bool
    hash: str
    first_line: int
    last_line: int
    remark: str = ""
