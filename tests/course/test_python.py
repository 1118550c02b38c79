"""A learner's file: what is found in it, what is said about it, and what of it goes into the engine."""

import inspect

import pytest

from yaie.course import api, files
from yaie.course.language import PYTHON, engine_seam
from yaie.course.registry import Exercise, Lesson, find_exercise
from yaie.kernels import kv_cache, radix_tree

EXERCISE = find_exercise("0.1")
ENGINE = inspect.getattr_static(kv_cache.KVCacheManager, "blocks_needed")
DEF = "    def blocks_needed("


def written(text):
    return EXERCISE.language.find(EXERCISE, text)


def manager(block_size=4):
    return kv_cache.KVCacheManager(num_blocks=1, block_size=block_size, num_heads=1, head_dim=1)


PROBLEMS = {
    "async": (lambda t: t.replace(DEF, "    async def blocks_needed("), "is defined with `async def`"),
    "generator": (lambda t: t.replace("return -", "yield -"), "contains `yield`"),
    "staticmethod": (lambda t: t.replace(DEF, f"    @staticmethod\n{DEF}"), "has `@staticmethod`"),
    "property": (lambda t: t.replace(DEF, f"    @property\n{DEF}"), "has `@property`"),
    "parameter renamed": (lambda t: t.replace("num_tokens:", "n:"), "takes (self, n)"),
    "parameter lost": (lambda t: t.replace("(self, num_tokens: int)", "(self)"), "takes (self);"),
    "parameter added": (lambda t: t.replace("num_tokens: int)", "num_tokens, x)"), "takes (self, num_tokens, x)"),
    "default added": (lambda t: t.replace("num_tokens: int)", "num_tokens=1)"), "takes (self, num_tokens=1)"),
    "keyword only": (lambda t: t.replace("num_tokens: int)", "*, num_tokens)"), "takes (self, *, num_tokens)"),
    "positional only": (lambda t: t.replace("num_tokens: int)", "num_tokens, /)"), "takes (self, num_tokens, /)"),
    "class renamed": (lambda t: t.replace("class KVCacheManager", "class KVCacheManger"), "but `KVCacheManger`"),
    "class gone": (lambda t: t[: t.index("class ")], "It has no class `KVCacheManager`."),
    "renamed": (lambda t: t.replace(DEF, "    def block_needed("), "It has `block_needed`: was it renamed?"),
    "tabs": (lambda t: t.replace("        return", "\tx = 1\n        return"), "inconsistent use of tabs"),
    "null byte": (lambda t: t + "\0", "contains null bytes"),
    "nested without end": (lambda t: t + "x = " + "-" * 200_000 + "1\n", "nested too deep"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problem_is_named(name, warm_up):
    """A file that the engine cannot use must say why before it is run, or the learner gets a TypeError from inside."""
    change, message = PROBLEMS[name]
    text = change(warm_up.text(warm_up.RIGHT))
    assert text != warm_up.text(warm_up.RIGHT)
    with pytest.raises(files.FileProblem) as caught:
        written(text)
    assert message in caught.value.problem
    assert caught.value.next_step


def test_method_that_slipped_out_of_its_class_is_named(warm_up):
    """Lost indentation is the commonest slip; "no such function" beside that function would be baffling."""
    head, _, _ = warm_up.stub.partition("    # ----------")
    text = head + "\n\ndef blocks_needed(self, num_tokens):\n    return 1\n"
    with pytest.raises(files.FileProblem, match="has a `blocks_needed` in another place: check its indentation"):
        written(text)


def test_syntax_error_elsewhere_is_said_to_be_elsewhere(warm_up):
    """A learner must not search their right function for the error of another one."""
    with pytest.raises(files.FileProblem) as caught:
        written(warm_up.text(warm_up.RIGHT, "\n\ndef other(:\n    pass\n"))
    assert "`def other(:`" in caught.value.problem
    assert caught.value.next_step.startswith("It is in or below `other`, not in `blocks_needed`.")
    with pytest.raises(files.FileProblem) as caught:
        written(warm_up.text("return (1"))
    assert "not in `blocks_needed`" not in caught.value.next_step


ACCEPTED = {
    "namesake outside": lambda t: t + "def blocks_needed(self, n): pass\n",
    "without annotations": lambda t: t.replace("num_tokens: int) -> int", "num_tokens)"),
    "own extra parameter": lambda t: t.replace("num_tokens: int)", "num_tokens, _depth=0)"),
    "own decorator": lambda t: t.replace(DEF, f"    @functools.cache\n{DEF}"),
    "nested generator": lambda t: t.replace("return -", "list(x for x in (lambda: (yield))())\n        return -"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_change_that_does_no_harm_is_accepted(name, warm_up):
    """Refusing what the engine can call would punish a good answer."""
    assert written(ACCEPTED[name](warm_up.text(warm_up.RIGHT))).attempted


def test_missing_return_is_remarked(warm_up):
    """A forgotten return gives None everywhere; an inner function's return does not count."""
    assert "has no `return` with a value" in written(warm_up.text("x = 1")).remark
    assert written(warm_up.text("f = lambda: 1\ndef g():\n    return 2")).remark
    assert not written(warm_up.text(warm_up.RIGHT)).remark
    assert not written(warm_up.stub).remark


def test_read_takes_any_line_ends_and_a_byte_order_mark(warm_up):
    """Editors on Windows write both; neither is the learner's mistake."""
    text = warm_up.text(warm_up.RIGHT)
    warm_up.path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert files.read(EXERCISE.file) == text


def test_read_names_what_is_wrong_with_the_file(warm_up):
    """A traceback about codecs or permissions does not tell a learner what to do."""
    warm_up.path.write_bytes(warm_up.stub.encode() + b"# caf\xe9\n")
    with pytest.raises(files.FileProblem, match=f"line {warm_up.stub.count(chr(10)) + 1}"):
        files.read(EXERCISE.file)
    warm_up.path.unlink()
    with pytest.raises(files.FileMissing, match="is not there"):
        files.read(EXERCISE.file)
    warm_up.path.mkdir()  # stands for a file without permission, which the superuser could read
    with pytest.raises(files.FileProblem, match="cannot be read: Is a directory"):
        files.read(EXERCISE.file)


def test_hash_follows_what_the_function_needs(warm_up):
    """A pass must lapse when a helper changes, and must not when a comment or an unrelated import is added."""
    after = "\n\ndef up(a, b):\n    return down(-a, b)\n\n\ndef down(a, b):\n    return -(a // b)\n"
    text = warm_up.text("return up(num_tokens, self.block_size)", after)
    base = written(text).hash
    assert base
    assert written("# a comment\n" + text).hash == base
    assert written(text.replace("from yaie", "import math\nfrom yaie", 1)).hash == base
    assert written(text + "\n\ndef unrelated():\n    return 1\n").hash == base
    assert written(text.replace("-(a // b)", "-(a // b) + 0")).hash != base
    assert written(text.replace("return up(num", "return 1 * up(num")).hash != base
    assert written(text + "\nprint(1)\n").hash != base
    method = "\n    def own(self, n):\n        return n\n"
    with_method = warm_up.text("return self.own(num_tokens)", method)
    assert written(with_method).hash != written(with_method.replace("return n\n", "return n + 1\n")).hash
    assert written(warm_up.stub).hash == ""


def test_install_takes_helpers_along_and_undo_takes_everything_out(warm_up):
    """A helper method that stays behind is an AttributeError; one that stays in falsifies every later run."""
    before = dict(vars(kv_cache.KVCacheManager))
    after = "\n    FACTOR = 10\n\n    def _times(self, n):\n        return n * self.FACTOR\n"
    text = warm_up.text("return self._times(num_tokens)", after)
    swap = PYTHON.install(EXERCISE.file, text, ["0.1"])
    try:
        assert manager().blocks_needed(3) == 30
        assert PYTHON.owner(EXERCISE) == "00_start_here.py"
    finally:
        swap.take_out()
    assert dict(vars(kv_cache.KVCacheManager)) == before
    assert PYTHON.owner(EXERCISE) == "kv_cache.py"
    swap.take_out()  # a second time changes nothing
    assert manager().blocks_needed(3) == 1
    swap.put_in()
    assert manager().blocks_needed(3) == 30
    swap.take_out()
    assert dict(vars(kv_cache.KVCacheManager)) == before


def test_install_leaves_out_what_is_not_asked_for(warm_up):
    """A hole must be filled with the engine's function, also in the learner's own class."""
    module = PYTHON.load(EXERCISE.file, warm_up.stub)
    PYTHON.swap(EXERCISE.file, module, []).put_in()
    assert inspect.getattr_static(module.KVCacheManager, "blocks_needed") is ENGINE


def test_module_level_function_is_replaced_wherever_it_is_known(monkeypatch):
    """`from module import name` copies the binding; replacing it in one module would leave the engine half changed."""
    import sys
    import types

    home, user = types.ModuleType("yaie.home_of_it"), types.ModuleType("yaie.user_of_it")
    exec("def it(): return 1\ndef twice(): return it() * 2", home.__dict__)
    user.alias = home.it
    monkeypatch.setitem(sys.modules, home.__name__, home)
    monkeypatch.setitem(sys.modules, user.__name__, user)
    lesson = Lesson(99, "none", "None", 1)
    fields = {"title": "", "minutes": 1, "difficulty": 1, "statement": "", "hints": (), "mistakes": (), "folder": None}
    lesson.exercises.append(Exercise(id="99.1", target="yaie.home_of_it:it", lesson=lesson, **fields))
    lesson.exercises.append(Exercise(id="99.2", target="yaie.home_of_it:twice", lesson=lesson, **fields))
    file = lesson.files[0]
    theirs = PYTHON.load(file, "def it(): return 5\ndef twice(): raise NotImplementedError\n")
    original = home.it
    swap = PYTHON.swap(file, theirs, ["99.1"])
    swap.put_in()
    assert (home.it(), home.twice(), user.alias()) == (5, 10, 5)
    assert theirs.twice is home.twice
    swap.take_out()
    assert home.it is original
    assert user.alias is original


def test_install_that_fails_leaves_nothing_in(warm_up):
    """Half of a learner's parts in the engine is a state that nobody asked for."""
    text = warm_up.text(warm_up.RIGHT) + "\ndel KVCacheManager.blocks_needed\n"
    with pytest.raises(KeyError):
        PYTHON.install(EXERCISE.file, text, ["0.1"])
    assert inspect.getattr_static(kv_cache.KVCacheManager, "blocks_needed") is ENGINE


def test_file_is_compiled_without_the_courses_own_future_imports(warm_up):
    """`annotations` from the course's own file must not leak into a learner's file that does not import it."""
    text = "def f(x: int): pass\n"
    assert PYTHON.load(EXERCISE.file, text).f.__annotations__ == {"x": int}


@pytest.mark.parametrize("id", ["10.4", "10.12"])
def test_a_broken_function_counts_as_attempted_when_its_code_has_changed(id):
    """A function to fix that counts as attempted would greet the learner with red; so would a comment in it."""
    exercise = find_exercise(id)
    text = exercise.file.language.render(exercise.file)
    old, new = exercise.broken
    assert not exercise.language.find(exercise, text).attempted
    comment = {".py": "\n        # mine\n        ", ".cu": "// mine\n    "}[exercise.language.suffix]
    assert not exercise.language.find(exercise, text.replace(new.strip(), comment + new.strip())).attempted
    assert exercise.language.find(exercise, text.replace(new, old)).attempted


def test_as_found_puts_the_broken_function_in_and_out():
    """A broken function that stays in the engine would break every later lesson of the session."""
    tree = radix_tree.RadixTree()
    tree.insert_request("a", [1, 9])
    with api.exercise("10.4").as_found():
        assert tree.find_shared_prefixes([1, 2]) == (["a"], 2)
    assert tree.find_shared_prefixes([1, 2]) == (["a"], 1)
    with api.exercise("10.12").as_found():
        assert "known = id < vocab_size" in engine_seam.sources()["model_ops/embedding.cu"]
    assert engine_seam.sources() == {}
    with pytest.raises(ValueError, match="no broken function"), api.exercise("0.1").as_found():
        pass
