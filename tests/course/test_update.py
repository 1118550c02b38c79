"""A learner's work survives `git pull`: two real repositories, and what `yaie update` makes of the files after it."""

import re
import shutil
import subprocess

import pytest

from yaie.course import REPOSITORY, api, files, progress
from yaie.course.registry import find_exercise, find_lesson

ANSWER = "return list(range(count))  # mine"
HELPER = "\ndef mine(x):\n    return x + 1\n"


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path):
    """A learner's clone of a course that goes on in `origin`."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    shutil.copy(REPOSITORY / ".gitignore", origin)
    (origin / "course.txt").write_text("one\n")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "one")
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    return clone


def older(text):
    """An exercise file of lesson 02 as an earlier course may have had it: without 2.3, with another statement of 2.2,
    another parameter of 2.1, and another import."""
    start, end = (text.index(f"    # ---------- Exercise 2.{number}:") for number in (3, 4))
    text = text[:start] + text[end:]
    for new, old in (
        ("Give a new request its block table", "Hand out blocks"),
        ("def _take_blocks(self, request_id: str, count: int)", "def _take_blocks(self, count: int)"),
        ("from collections.abc import Sequence\n", ""),
    ):
        assert text.count(new) == 1
        text = text.replace(new, old)
    return files.stamped(re.sub(r"text hash \w+", "text hash HASH", text))


def write(text, number, body):
    """The file with a body for the exercise of that number."""
    hole = f'raise NotImplementedError("exercise 2.{number}: write this function")'
    assert text.count(hole) == 1
    return text.replace(hole, body)


@pytest.mark.parametrize("committed", [False, True])
def test_pull_and_update_keep_what_a_learner_wrote(committed, clone, monkeypatch):
    """A pull that is refused or conflicts, an update that costs an answer or leaves out what is new."""
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(clone / "exercises"))
    file = find_lesson(2).files[0]
    path, new = clone / "exercises" / file.name, file.language.render(file)
    files.renew(file, path, older(new))
    mine = write(path.read_text(), 1, ANSWER)
    mine = write(mine, 2, "x = 1\n        return [x]")
    mine = write(mine, 4, "return None") + HELPER
    mine = mine.replace("from yaie.kernels import", "import math  # my own\nfrom yaie.kernels import", 1)
    path.write_text(mine)
    progress.change("2.1", lambda record: setattr(record, "checks", 7))
    assert git(clone, "status", "--porcelain") == ""
    if committed:
        git(clone, "add", "--force", "exercises")
        git(clone, "commit", "-qm", "mine")
    (clone.parent / "origin" / "course.txt").write_text("two\n")
    git(clone.parent / "origin", "commit", "-qam", "two")
    git(clone, "pull", "-q", "--no-rebase", "--no-edit")
    assert (clone / "course.txt").read_text() == "two\n"
    assert path.read_text() == mine

    panel = api.update()
    assert file.name in dict(panel.rows)["Brought up to date"]
    text = path.read_text()
    for written in (ANSWER, "x = 1\n        return [x]\n", "return None", HELPER, "import math  # my own"):
        assert text.count(written) == 1
    assert "def _take_blocks(self, count: int)" in text  # theirs, and the check says what it must be
    assert "from collections.abc import Sequence" in text
    assert "Exercise 2.3:" in text
    assert not find_exercise("2.3").language.find(find_exercise("2.3"), text).attempted
    assert "Hand out blocks" in text  # the words above an answer stay with it
    assert "<<<<" not in text
    assert files.HASH_LINE.search(text)[0] in new
    assert [each.read_text() for each in (clone / "exercises" / ".backup").glob(f"{file.lesson.name}*")] == [mine]
    assert progress.load()[0]["2.1"].checks == 7

    assert "up to date" in api.update().title
    assert path.read_text() == text


def test_make_update_sets_notebooks_aside(clone):
    """Running a notebook changes it, and git refuses to pull over a change: the advice in the README must work."""
    origin = clone.parent / "origin"
    shutil.copy(REPOSITORY / "Makefile", origin)
    for folder in ("notebooks", "solutions"):
        (origin / folder).mkdir()
        (origin / folder / "01.ipynb").write_text("{}")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "notebooks")
    git(clone, "pull", "-q")
    (clone / "notebooks" / "01.ipynb").write_text('{"run": 1}')
    (origin / "notebooks" / "01.ipynb").write_text('{"new": 1}')
    git(origin, "commit", "-qam", "a new notebook")
    for _ in range(2):
        done = subprocess.run(["make", "update"], cwd=clone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (clone / "notebooks" / "01.ipynb").read_text() == '{"new": 1}'
    assert '"run": 1' in git(clone, "stash", "show", "-p")
    assert len(git(clone, "stash", "list").splitlines()) == 1


def test_files_that_nobody_has_edited_are_renewed_without_a_backup(exercises):
    """Backups of what was generated push out those that are worth keeping."""
    file = find_lesson(2).files[0]
    new = (exercises / file.name).read_text()
    for text, state in ((older(new), files.RENEWED), (new, files.RENEWED), (new, files.SAME)):
        assert files.renew(file, exercises / file.name, text) == state
        assert (exercises / file.name).read_text() == text
    assert not (exercises / ".backup").exists()


SPOILT = {
    "a syntax error": lambda text: text + "def (",
    "a function that is gone": lambda text: text.replace("def allocate_blocks", "def other_name"),
    "no copy of what was generated": lambda text: text,
}


@pytest.mark.parametrize("name", SPOILT)
def test_file_that_cannot_be_merged_is_left_alone(name, exercises):
    """Rather nothing than something wrong; the message says how to start afresh."""
    file = find_lesson(2).files[0]
    path = exercises / file.name
    old = older(path.read_text())
    path.write_text(SPOILT[name](write(old, 4, "return 5")))
    if name.startswith("no copy"):
        files.as_generated(path).unlink()
    else:
        files.as_generated(path).write_text(old)
    before = path.read_text()
    panel = api.update()
    assert file.name in dict(panel.rows)["Left as it is"]
    assert "`yaie reset 2`" in dict(panel.rows)["Then"]
    assert path.read_text() == before
    api.reset("2")
    assert "up to date" in api.update().title


def test_copy_that_is_lost_is_made_again_where_nothing_has_changed(exercises):
    """Without it the next update could bring nothing in."""
    path = exercises / "02_kv_cache.py"
    path.write_text(write(path.read_text(), 1, ANSWER))
    copy = files.as_generated(path)
    before = copy.read_text()
    copy.unlink()
    assert "up to date" in api.update().title
    assert copy.read_text() == before


def test_windows_line_ends_are_kept(exercises):
    """A merge by lines of which all seem changed."""
    file = find_lesson(2).files[0]
    path = exercises / file.name
    new, old = path.read_text(), older(path.read_text())
    path.write_bytes(write(old, 1, ANSWER).replace("\n", "\r\n").encode())
    files.as_generated(path).write_text(old)
    assert files.renew(file, path, new) == files.MERGED
    content = path.read_bytes()
    assert ANSWER.encode() in content
    assert b"Exercise 2.3:" in content
    assert content.count(b"\n") == content.count(b"\r\n")


def test_cuda_files_are_merged_too(exercises):
    """Their statements stand above the function, as comments, and so become the new ones."""
    file = find_lesson(9).files[0]
    path = exercises / file.name
    new = path.read_text()
    old = new.replace("Copy blocks of the KV cache inside the cache, in place", "Copy things")
    files.as_generated(path).write_text(old)
    hole = "    // exercise 9.1: write this function"
    path.write_text(old.replace(hole, "    int mine = 1;") + "\n__device__ int helper() { return 2; }\n")
    assert files.renew(file, path, new) == files.MERGED
    assert path.read_text() == new.replace(hole, "    int mine = 1;") + "\n__device__ int helper() { return 2; }\n"


def test_fresh_clone_has_its_files_when_they_are_asked_for(tmp_path, monkeypatch):
    """git brings none: a card that links to nothing, or a check of nothing, would be the first thing seen."""
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(tmp_path / "exercises"))
    api.exercise("0.1").card()
    assert (tmp_path / "exercises" / "00_start_here.py").exists()
    files.read(find_exercise("1.1").file)
    assert (tmp_path / "exercises" / "01_radix_tree.py").exists()
    (tmp_path / "exercises" / "01_radix_tree.py").unlink()
    with pytest.raises(files.FileMissing):  # taken away by whoever had it, and not made again behind their back
        files.read(find_exercise("1.1").file)
