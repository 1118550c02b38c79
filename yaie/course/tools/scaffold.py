"""`yaie dev new 12.5 --target csrc/folder/file.cu:name` makes an exercise's folder, `yaie dev check 12.5` proves it.

What is left to write stands as TODO in the new files; `check` names each until none is left.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

from yaie.course.registry import EXERCISE, LESSONS, TARGET, Exercise, Lesson, exercise_folders
from yaie.course.tools import prove

BLANK = LESSONS / "_new"  # what is copied


def new(id: str, target: str, lessons: Path = LESSONS) -> Path:
    """Make the folder of a lesson's next exercise. Raises ValueError, and LookupError where there is no such target."""
    numbers = re.fullmatch(r"(\d+)\.(\d+)", id)
    if numbers is None:
        raise ValueError(f'{id!r} is no id: expected the number of a lesson, a point and a number, such as "12.5"')
    if not TARGET.fullmatch(target):
        raise ValueError(f"{target!r} is no function of the engine: expected {EXERCISE['target'][0]}")
    number = int(numbers[1])
    lesson = next(lessons.glob(f"{number:02d}_*"), None)
    if lesson is None:
        raise ValueError(f"there is no lesson {number}: make its folder in {lessons}, with a lesson.toml, first")
    following = f"{number}.{len(exercise_folders(lesson)) + 1}"
    if id != following:
        raise ValueError(f"the next exercise of lesson {number} is {following}, not {id}")
    exercise = Exercise(id, "", target, 1, 1, "", (), (), Lesson(number, lesson.name[3:], "", 1), lesson)
    language = exercise.language
    language.reference(exercise)  # raises where the engine has no such function
    folder = lesson / f"{id}_{exercise.function.strip('_').removesuffix('_kernel')}"
    words = {"TARGET": target, "FUNCTION": exercise.function, "MARK": language.comment}
    for blank in sorted(path for path in BLANK.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        path = folder / blank.relative_to(BLANK)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = re.sub("|".join(words), lambda word: words[word[0]], blank.read_text(encoding="utf-8"))
        (path if path.suffix else path.with_suffix(language.suffix)).write_text(text, encoding="utf-8")
    return folder


def check(exercise: Exercise) -> bool:
    """Prove an exercise and print a line for each promise; tell whether all are kept.

    Where something is left to write, that alone is said: a line for each.
    """
    if todo := prove.lacks(exercise):
        print(f"{exercise.id} lacks, in {exercise.folder}:", *todo, sep="\n  ")
        return False
    kept = True
    with closing(prove.Remembering()) as sandbox:
        for promise in prove.promises(exercise):
            broken = promise.broken(sandbox)
            kept = kept and not broken
            print(f"{'BROKEN' if broken else 'kept  '}  {promise.name}: {promise.text}", flush=True)
            print(*(f"        {line}\n" for line in broken.splitlines()), sep="", end="")
    return kept
