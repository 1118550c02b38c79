"""The generator: files that a learner edited are never overwritten, and what it takes out and leaves in."""

import ast
import re
from dataclasses import replace

import pytest

from yaie.course import files
from yaie.course.language import PYTHON
from yaie.course.language.python import find_function, is_hole
from yaie.course.registry import find_exercise, lessons
from yaie.course.tools import generate


def test_edited_file_is_never_overwritten(warm_up, capsys):
    """Regenerating after an update of the engine must not cost a learner's answers."""
    warm_up.write("return 1")
    mine = warm_up.path.read_text()
    assert generate.main(["--to", str(warm_up.path.parent)]) == 0
    assert warm_up.path.read_text() == mine
    files.as_generated(warm_up.path).unlink()
    mine = re.sub(r"text hash \w+", f"text hash {'0' * 16}", mine)
    warm_up.path.write_text(mine)
    assert generate.main(["--to", str(warm_up.path.parent)]) == 0
    assert warm_up.path.read_text() == mine
    assert "00_start_here.py: edited in a way that could not be merged" in capsys.readouterr().out


def test_check_names_what_is_older_than_the_engine(warm_up, tmp_path, capsys):
    """An edited file is compared by what it was generated as; one that was never made is not missed."""
    command = ["--check", "--to", str(warm_up.path.parent)]
    assert generate.main(command) == 0
    warm_up.write("return 1")
    assert generate.main(command) == 0
    files.as_generated(warm_up.path).write_text("an older one")
    assert generate.main(command) == 1
    assert "00_start_here.py: differs from the engine" in capsys.readouterr().out
    assert generate.main(["--check", "--to", str(tmp_path / "new")]) == 0


def test_file_of_an_older_engine_is_found_and_renewed(warm_up):
    """A file that nobody edited but the engine has outgrown must be told from an edited one."""
    old = warm_up.stub.replace("How many", "How few")
    hash = files.HASH_LINE.search(old).group(1)
    warm_up.path.write_text(files.stamped(old.replace(hash, "HASH")))
    assert generate.main(["--check", "--to", str(warm_up.path.parent)]) == 1
    assert generate.main(["--to", str(warm_up.path.parent)]) == 0
    assert warm_up.path.read_text() == warm_up.stub


HOLES = {
    "raise NotImplementedError": True,
    "raise NotImplementedError('x')": True,
    "'''Docstring.'''\n    raise NotImplementedError": True,
    "pass": False,
    "...": False,
    "raise ValueError": False,
    "raise": False,
    "x = 1\n    raise NotImplementedError": False,
    "'''Docstring.'''": False,
}


@pytest.mark.parametrize("body", HOLES)
def test_hole(body):
    """What counts as attempted decides between "not attempted" and "failed", so between grey and red."""
    assert is_hole(ast.parse(f"def f():\n    {body}\n").body[0]) == HOLES[body]


def test_function_is_found_by_its_qualified_name():
    """A namesake in another class, or an earlier definition, is another function."""
    tree = ast.parse("def f(): 1\nclass A:\n  def f(self): 2\nclass B:\n  def f(self): 3\n  def f(self): 4\n")
    line = {name: getattr(find_function(tree, name), "lineno", None) for name in ("f", "A.f", "B.f", "C.f")}
    assert line == {"f": 1, "A.f": 3, "B.f": 6, "C.f": None}


def test_change_of_a_text_that_is_gone_is_an_error():
    """A mistake that no longer applies would be the reference, and pass."""
    with pytest.raises(LookupError, match="exactly once"):
        PYTHON.changed(find_exercise("0.1"), "no such text", "x")


@pytest.mark.parametrize("id", ["10.4", "10.12"])
def test_a_mistake_to_fix_whose_line_is_gone_gives_a_function_to_write(id):
    """An engine that has moved on must not stop the other exercises of the file from being made, shown and checked."""
    exercise = replace(find_exercise(id), broken=("no such line", "another"))
    stub = exercise.language.stub(exercise)
    assert stub == exercise.language.hole(exercise)
    text = exercise.file.language.render(exercise.file, {id: stub})
    assert not exercise.language.find(exercise, text).attempted


def test_stub_keeps_everything_but_the_body():
    """The learner reads signature, decorators and docstring; each must be there, and no line of the answer."""
    for lesson in lessons():
        for exercise in [exercise for exercise in lesson.exercises if exercise.language is PYTHON]:
            stub = ast.parse(exercise.language.stub(exercise)).body[0]
            reference = ast.parse(exercise.language.reference(exercise)).body[0]
            assert ast.dump(stub.args) == ast.dump(reference.args)
            assert list(map(ast.dump, stub.decorator_list)) == list(map(ast.dump, reference.decorator_list))
            shown = reference if exercise.broken else ast.parse(f'def f():\n    r"""{exercise.statement}"""').body[0]
            assert ast.get_docstring(stub).split() == ast.get_docstring(shown).split()
            assert is_hole(stub) == (exercise.broken is None)
            assert not is_hole(reference)
