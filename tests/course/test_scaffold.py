"""`yaie dev`: a new folder says what is left to write, and a broken promise is named."""

import shutil

import pytest

from yaie import cli
from yaie.course import registry
from yaie.course.registry import LESSONS, load_lesson
from yaie.course.tools import prove, scaffold

TARGETS = ["csrc/memory/copy_blocks.cu:copy_blocks_kernel", "yaie.kernels.kv_cache:KVCacheManager._take_blocks"]


@pytest.fixture
def lessons(tmp_path):
    shutil.copytree(LESSONS / "00_start_here", tmp_path / "00_start_here")
    return tmp_path


@pytest.mark.parametrize("target", TARGETS)
def test_new_folder_is_an_exercise_with_all_left_to_write(target, lessons):
    """A scaffold that does not load, or that passes as it is, helps nobody."""
    folder = scaffold.new("0.2", target, lessons)
    exercise = load_lesson(lessons / "00_start_here").exercises[-1]
    assert (exercise.id, exercise.target, exercise.folder) == ("0.2", target, folder)
    assert folder.name == {".cu": "0.2_copy_blocks", ".py": "0.2_take_blocks"}[exercise.language.suffix]
    assert len(prove.answers(exercise, "right")) == 3
    lacks = prove.lacks(exercise)
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {line.partition(",")[0] for line in lacks} == set(map(str, files))
    path = folder / "statement.md"
    path.write_text(path.read_text().replace("TODO", "Done", 1))
    assert len(prove.lacks(exercise)) == len(lacks) - 1


BAD = {
    "no id": ("twelve", TARGETS[0], "'twelve' is no id: expected the number of a lesson, a point and a number"),
    "no lesson": ("99.1", TARGETS[0], "there is no lesson 99"),
    "there": ("0.1", TARGETS[0], "the next exercise of lesson 0 is 0.2, not 0.1"),
    "gap": ("0.3", TARGETS[0], "the next exercise of lesson 0 is 0.2, not 0.3"),
    "no file": ("0.2", "csrc/memory/nothing.cu:f", "nothing.cu"),
    "no function": ("0.2", "csrc/memory/copy_blocks.cu:nope", "no definition of `nope`"),
    "no module": ("0.2", "yaie.kernels.nothing:f", "yaie.kernels.nothing"),
    "nonsense": ("0.2", "nonsense", '\'nonsense\' is no function of the engine: expected "yaie.module:name" or "csrc/'),
    "nothing": ("0.2", "", "'' is no function of the engine"),
    "not the engine's": ("0.2", "math:sqrt", "'math:sqrt' is no function of the engine"),
    "outside": ("0.2", "csrc/../x.cu:f", "'csrc/../x.cu:f' is no function of the engine"),
    "no name": ("0.2", "yaie.kernels.kv_cache:nope", "has no function nope"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_made_is_said_and_nothing_is_made(name, lessons):
    """Half a folder would stop the whole course from loading."""
    id, target, message = BAD[name]
    with pytest.raises((ValueError, LookupError, ImportError, OSError), match=message.replace("(", r"\(")):
        scaffold.new(id, target, lessons)
    assert len(list((lessons / "00_start_here").glob("0.*"))) == 1


def test_command_asked_wrongly(capsys):
    """An author needs the id that is next, and no traceback."""
    assert cli.main(["dev", "new", "12.99", "--target", TARGETS[0]]) == 2
    assert "the next exercise of lesson 12 is 12." in capsys.readouterr().out
    assert cli.main(["dev", "new", "12.99"]) == 2
    assert "--target" in capsys.readouterr().out
    assert cli.main(["dev", "check", "12.99"]) == 2
    assert "there is no exercise '12.99'" in capsys.readouterr().err


@pytest.mark.parametrize(("broken", "status"), [("", 0), ("mistake 2", 1)])
def test_every_promise_has_a_line(broken, status, monkeypatch, capsys):
    """What is not named was not tried; and one that is broken is not to be overlooked among the others."""
    monkeypatch.setattr(prove.Promise, "broken", lambda self, sandbox: "passed\nNext" * (self.name == broken))
    assert cli.main(["dev", "check", "0.1"]) == status
    lines = capsys.readouterr().out.splitlines()
    expected = []
    for promise in prove.promises(registry.find_exercise("0.1")):
        expected.append(f"{'BROKEN' if promise.name == broken else 'kept  '}  {promise.name}")
        expected += ["        passed", "        Next"] * (promise.name == broken)
    assert [line.partition(":")[0] for line in lines] == expected


CHANGES = {
    "stale": ("exercise.toml", "old = ", "old = 'no such line' #", "mistake 1: expected `old` exactly once"),
    "no mistakes": ("exercise.toml", "[[mistakes]]", None, "has 0 mistakes"),
    "same answer": ("right/1.py", None, "2.py", "has 2 answers that differ"),
    "no expectation": ("wrong/at_least_one.py", "# expect:", "#", 'expected a comment "expect: '),
    "other language": ("right/1.cu", None, "2.py", "right/1.cu: expected a .py file"),
    "no worse answer": (
        "exercise.toml",
        "minutes = ",
        'score = "steps"\nminutes = ',
        "expected an answer with a larger score",
    ),
    "no statement": ("statement.md", None, None, "statement.md is empty"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_folder_lacks_is_named(name, lessons):
    """A folder that looks complete and proves nothing is worse than one with a TODO."""
    file, old, new, message = CHANGES[name]
    folder = next((lessons / "00_start_here").glob("0.1_*"))
    path = folder / file
    if name == "no mistakes":
        text = path.read_text()
        path.write_text(f"mistakes = []\n{text.partition('[[mistakes]]')[0]}")
    elif old is None:
        path.write_text((path.parent / new).read_text() if new else "")
    else:
        path.write_text(path.read_text().replace(old, new, 1))
    assert message in "\n".join(prove.lacks(load_lesson(folder.parent).exercises[0]))


@pytest.mark.parametrize("name", ["wrong/at_least_one.py", "mistake 1", "right/1.py", "stub"])
def test_broken_promise_is_told(name, sandbox):
    """A prover that is content with everything proves nothing: each kind of promise can be broken."""
    import dataclasses

    exercise = registry.find_exercise("0.1")
    promise = {each.name: each for each in prove.promises(exercise)}[name]
    assert promise.broken(sandbox) == ""
    other = {"stub": "reference", "right/1.py": "mistake 1"}.get(name, "reference")
    text = {each.name: each for each in prove.promises(exercise)}[other].file
    assert exercise.title in dataclasses.replace(promise, file=text).broken(sandbox)
