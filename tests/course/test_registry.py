"""Folders of lessons and exercises: what is wrong in one is named with its file, and reading imports no check."""

import shutil
import subprocess
import sys

import pytest

from yaie.course import registry
from yaie.course.registry import LESSONS, FolderError, load_lesson

ID = "0.1"


@pytest.fixture
def lesson(tmp_path):
    """A copy of lesson 00, to be broken."""
    folder = tmp_path / "00_start_here"
    shutil.copytree(LESSONS / folder.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def edit(lesson, old, new, name="exercise.toml"):
    path = next(lesson.glob(f"*/{name}"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


PROBLEMS = {
    "not TOML": ("minutes = 3", "minutes = ", "is not TOML"),
    "missing": ("minutes = 3\n", "", "minutes is missing; expected a whole number above 0"),
    "unknown": ("minutes = 3", "minutes = 3\ntags = []", "unknown field 'tags'; expected title, target,"),
    "wrong kind": ("minutes = 3", "minutes = 'three'", "minutes is 'three'; expected a whole number above 0"),
    "bool": ("minutes = 3", "minutes = true", "minutes is 'True'; expected a whole number above 0"),
    "none": ("minutes = 3", "minutes = 0", "minutes is '0'; expected a whole number above 0"),
    "difficulty": ("difficulty = 1", "difficulty = 4", "difficulty is '4'; expected 1, 2 or 3"),
    "target": (":KVC", "/KVC", 'expected "yaie.module:name" or "csrc/folder/file.cu:name"'),
    "two hints": ("hints = [", "hints = ['a', 'b']\nx = [", "unknown field 'x'"),
    "same hints": ("hints = [", "hints = ['a', 'a', 'b', ' ']\n[[mistakes]]\nold = [", "expected three strings"),
    "requires": ("minutes = 3", "minutes = 3\nrequires = ['9.9']", "come before this one; '9.9' does not"),
    "requires itself": ("minutes = 3", "minutes = 3\nrequires = ['0.1']", "'0.1' does not"),
    "score": ("minutes = 3", "minutes = 3\nscore = 3", "score is '3'; expected if any, what is counted, in words"),
    "time limit": ("minutes = 3", "minutes = 3\ntime_limit = -5", "time_limit is '-5'; expected if any, a number"),
    "mistake": ("[[mistakes]]", "[[mistakes]]\nwhy = ''", "mistake 1: unknown field 'why'"),
    "broken": ("[[mistakes]]", "[broken]\nold = ''\n[[mistakes]]", "broken: new is missing; expected a string"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problem_in_a_folder_is_named(name, lesson):
    """A KeyError from the loader tells an author neither the file nor what belongs there."""
    old, new, message = PROBLEMS[name]
    path = next(lesson.glob("*/exercise.toml"))
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(FolderError) as caught:
        load_lesson(lesson)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["exercise.toml", "statement.md", "check.py"])
def test_missing_file_is_named(name, lesson):
    """An exercise without its check would fail when a learner runs it, and not when it is added."""
    path = next(lesson.glob(f"*/{name}"))
    path.unlink()
    with pytest.raises(FolderError, match=f"{path} is missing"):
        load_lesson(lesson)


def test_ids_come_from_the_folders(lesson):
    """Ids that are written twice drift apart; sorted as text, 0.10 would come before 0.2."""
    first = next(lesson.glob("0.1_*"))
    for number in range(2, 11):
        shutil.copytree(first, lesson / f"0.{number}_again")
    assert [exercise.id for exercise in load_lesson(lesson).exercises] == [f"0.{number}" for number in range(1, 11)]
    (lesson / "0.5_again").rename(lesson / "0.11_again")
    with pytest.raises(FolderError, match=r"0\.6_again: there is no number 5 before it"):
        load_lesson(lesson)
    (lesson / "0.11_again").rename(lesson / "0.6_twice")
    with pytest.raises(FolderError, match="have the same number"):
        load_lesson(lesson)
    (lesson / "0.6_twice").rename(lesson / "1.5_again")
    with pytest.raises(FolderError, match=r"1\.5_again: expected a name such as 0\.1_name"):
        load_lesson(lesson)


def test_mistake_that_no_longer_fits_is_no_error_of_the_loader(lesson):
    """The engine moves on; a learner whose check meets a stale quotation must not see a traceback."""
    edit(lesson, "-(-num_tokens // self.block_size)", "no such line")
    exercise = load_lesson(lesson).exercises[0]
    with pytest.raises(LookupError, match="exactly once"):
        exercise.language.changed(exercise, exercise.mistakes[0].old, "")
    with pytest.raises(LookupError, match="exactly once"):
        exercise.language.changed(exercise, "e", "")
    last = exercise.language.reference(exercise).split("\n")[-1]
    assert exercise.language.changed(exercise, f"{last}\n", "").endswith('"""\n')


def test_lines_of_a_paragraph_join_and_indented_lines_stay(lesson):
    """Hints are wrapped in the file; in the card a line's end in mid-sentence would look like a list."""
    edit(lesson, "hints = [", 'hints = ["""\nfirst\nline\n\nfor each:\n    go\n""", "b", "c"]\n[[mistakes]]\nold = """')
    path = next(lesson.glob("*/exercise.toml"))
    path.write_text(path.read_text().split("[[mistakes]]")[0] + "mistakes = []")
    assert load_lesson(lesson).exercises[0].hints[0] == "first line\n\nfor each:\n    go"


def test_reading_an_exercise_imports_no_check():
    """A worker that loads what it does not run makes every check of every learner slower."""
    code = (
        "import sys; from yaie.course import registry; registry.exercises();"
        "assert not any('lesson_' in name for name in sys.modules);"
        "import importlib; importlib.import_module('yaie.course.lessons.lesson_14.exercise_3.check');"
        "print(*sorted(name for name in sys.modules if 'lesson_' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package = "yaie.course.lessons.lesson_"
    assert done.stdout.split() == [
        f"{package}{name}" for name in ("13", "13.common", "14", "14.common", "14.exercise_3", "14.exercise_3.check")
    ]


def test_traceback_names_the_real_file():
    """An error in a check is looked for in its file, whatever the name that it was imported by."""
    import importlib

    module = importlib.import_module("yaie.course.lessons.lesson_02.exercise_3.check")
    assert module.check.__code__.co_filename == str(registry.find_exercise("2.3").folder / "check.py")
    for name in ("lesson_99", "lesson_x", "exercise_1", "lesson_02.exercise_99", "lesson_02.lesson_02"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"yaie.course.lessons.{name}")
