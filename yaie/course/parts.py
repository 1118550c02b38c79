"""The learner's own functions in the running engine: which have passed, putting them in, and showing whose ran."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from yaie.course import learner, progress
from yaie.course.checks import PASSED
from yaie.course.registry import exercises, find_exercise
from yaie.course.show import Table


def passed_parts() -> list[str]:
    """Ids of the exercises that have passed and were not edited since."""
    lines, _ = progress.board()
    return [line.exercise.id for line in lines if line.status == PASSED]


@contextmanager
def installed(ids: Iterable[str]) -> Iterator[None]:
    """Have the engine of this process call the learner's functions with these ids; at the end, its own again.

    The learner's files are run here, not in the sandbox: an endless loop in them is an endless loop of this process.
    Raises `NoSuchExercise` or `FileProblem` before anything is put in; whatever a file raises when it is run comes out,
    and nothing stays in.
    """
    wanted = [find_exercise(id) for id in dict.fromkeys(ids)]
    files = {exercise.file.name: exercise.file for exercise in wanted}
    texts = {name: learner.read(file) for name, file in files.items()}
    for exercise in wanted:
        if not learner.find(exercise, texts[exercise.file.name]).attempted:
            raise learner.FileProblem(
                f"Exercise {exercise.id} has not been written yet.",
                f"Write it, then `yaie check {exercise.id}`.",
            )
    with ExitStack() as undo:
        for name, file in files.items():
            use = [exercise.id for exercise in wanted if exercise.file.name == name]
            undo.callback(learner.install(learner.load(file, texts[name]), file, use))
        yield


def who_runs() -> Table:
    """For each exercise, whose function the engine of this process would call now."""
    rows = []
    for exercise in exercises():
        file = learner.owner(exercise)
        yours = file == exercise.file.name
        rows.append(
            (
                "good" if yours else "neutral",
                (exercise.id, f"`{exercise.qualname}`", "yours" if yours else "YAIE's", file),
            )
        )
    yours = sum(tone == "good" for tone, _ in rows)
    return Table(
        "Whose code runs", ("", "Function", "Whose", "File"), rows, f"{yours} of {len(rows)} are yours."
    )
