"""The learner's functions in the running engine: only those that passed, and only for as long as asked."""

import inspect

import pytest
import torch

import yaie
from yaie import cli
from yaie.course import api, files, parts
from yaie.course.registry import NoSuchExercise, find_exercise, find_lesson
from yaie.course.tools import generate
from yaie.kernels import kv_cache, ops, radix_tree
from yaie.models.loader import load_model

WRONG = "return 7"


def blocks_needed():
    return kv_cache.KVCacheManager(num_blocks=1, block_size=4, num_heads=1, head_dim=1).blocks_needed(3)


def whose():
    return {cells[0]: cells[2] for _, cells in parts.who_runs().rows}["0.1"]


def test_only_a_pass_that_still_holds_counts(warm_up):
    """An engine that runs what failed, or what was edited since the pass, gives answers nobody can explain."""
    assert parts.passed_parts() == []
    warm_up.write(WRONG)
    api.exercise("0.1").check()
    assert parts.passed_parts() == []
    warm_up.write(warm_up.RIGHT)
    assert parts.passed_parts() == []
    api.exercise("0.1").check()
    assert parts.passed_parts() == ["0.1"]
    warm_up.write(WRONG)
    assert parts.passed_parts() == []


def test_installed_for_as_long_as_the_block(warm_up):
    """A part that stays in after the block falsifies every later comparison; so does one left by an error."""
    engine = inspect.getattr_static(kv_cache.KVCacheManager, "blocks_needed")
    warm_up.write(WRONG)
    with parts.installed(["0.1", "0.1"]):
        assert (blocks_needed(), whose()) == (7, "yours")
        assert "1 of " in parts.who_runs().footer
    assert (blocks_needed(), whose()) == (1, "YAIE's")
    with pytest.raises(ZeroDivisionError), parts.installed(["0.1"]):
        1 / 0  # noqa: B018
    assert inspect.getattr_static(kv_cache.KVCacheManager, "blocks_needed") is engine


def test_yaie_serve_has_them_in_place_all_the_time(warm_up, monkeypatch):
    """A server's own functions run between the engine's steps, where the engine has put nothing in."""
    warm_up.write(warm_up.RIGHT)
    api.exercise("0.1").check()
    seen = []
    monkeypatch.setattr(cli.serving, "run", lambda options: seen.append(whose()) or 0)
    assert (cli.main(["serve", "--exercises"]), cli.main(["serve"])) == (0, 0)
    assert seen == ["yours", "YAIE's"]


def test_blocks_inside_one_another_come_off_in_order(warm_up):
    """The inner block must give back what the outer one had put in, not the engine's own."""
    warm_up.write("return 7")
    with parts.installed(["0.1"]):
        warm_up.write("return 8")
        with parts.installed(["0.1"]):
            assert blocks_needed() == 8
        assert blocks_needed() == 7
    assert blocks_needed() == 1


def test_files_are_read_again_only_when_they_have_changed(warm_up, monkeypatch):
    """The engine asks at each step: reading the files takes many times as long as a step of a small model."""
    warm_up.write(WRONG)
    mine = parts.installed(["0.1"])
    with mine:
        pass
    with monkeypatch.context() as patch:
        patch.setattr(find_exercise("0.1").language, "find", None)  # a call would be a TypeError
        with mine, mine:
            assert blocks_needed() == 7
        assert blocks_needed() == 1
    warm_up.write("return 12")
    with mine:
        assert blocks_needed() == 12


def test_a_learners_attention_runs_although_a_kernel_of_pytorch_is_faster(exercises):
    """The engine takes that kernel instead of its own function; instead of theirs it would be a lie."""
    generate.write(exercises / "solved", solved=True)
    (exercises / "03_attention.py").write_text((exercises / "solved" / "03_attention.py").read_text())
    assert ops.operations("torch").rungs["attention"] == 2
    with parts.installed(["3.5"]):
        assert ops.operations("torch").rungs["attention"] == 1
    assert ops.operations("torch").rungs["attention"] == 2


def test_nothing_to_install_is_fine(exercises):
    """A learner who has passed nothing yet runs the engine as it is."""
    with parts.installed([]):
        assert whose() == "YAIE's"


@pytest.mark.parametrize(
    ("body", "id", "error"), [("return 7", "0.9", NoSuchExercise), ("return (7", "0.1", files.FileProblem)]
)
def test_what_cannot_be_installed_changes_nothing(body, id, error, warm_up):
    """A failed call must leave the engine's own functions in place."""
    warm_up.write(body)
    with pytest.raises(error), parts.installed([id]):
        pass
    assert blocks_needed() == 1


def test_unwritten_exercise_is_refused(warm_up):
    """A hole put into the engine would raise NotImplementedError in the middle of a generation."""
    with pytest.raises(files.FileProblem, match="has not been written yet"), parts.installed(["0.1"]):
        pass


def test_file_that_breaks_when_run_takes_the_others_out_again(warm_up, exercises):
    """The first lesson's parts must not stay in when the second lesson's file raises."""
    warm_up.write("return 7")
    file = find_lesson(1).files[0]
    files.exercise_path(file).write_text(file.language.solved(file) + "\nimport no_such_module\n")
    with pytest.raises(ModuleNotFoundError), parts.installed(["0.1", "1.1"]):
        pass
    assert blocks_needed() == 1


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny", torch.float32, "cpu")


def engine(tiny, **options):
    return yaie.LLM(tiny, backend="torch", block_size=4, num_blocks=64, **options)


@pytest.fixture
def solved(exercises, monkeypatch):
    """A folder in which exercises 1.1 and 2.2 are written, and a record that says that they have passed."""
    for name in ("01_radix_tree.py", "02_kv_cache.py"):
        file = find_lesson(int(name[:2])).files[0]
        (exercises / name).write_text(file.language.solved(file))
    monkeypatch.setattr(parts, "passed_parts", lambda: ["1.1", "2.2"])
    return exercises


PROMPT, GREEDY = [5, 6, 7, 8, 9, 10, 11, 12, 13], yaie.SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)


def test_solved_exercises_run_in_the_engine_and_only_there(tiny, solved):
    """Would catch an engine that says it runs the learner's code and does not, or never stops doing it."""
    before = (radix_tree.match_prefix, kv_cache.KVCacheManager.allocate_blocks)
    llm, seen = engine(tiny, parts="exercises"), set()
    make_batch = llm.runner.make_batch

    def watching(scheduled):
        functions = (radix_tree.match_prefix, kv_cache.KVCacheManager.allocate_blocks)
        seen.add(tuple(function.__code__.co_filename for function in functions))
        return make_batch(scheduled)

    llm.runner.make_batch = watching
    expected = engine(tiny).generate(PROMPT, GREEDY)[0].token_ids
    assert llm.generate(PROMPT, GREEDY)[0].token_ids == expected
    assert [token for chunk in llm.stream(PROMPT, GREEDY) for token in chunk.token_ids] == expected
    llm.add_request(PROMPT, GREEDY)
    assert len([token for _ in range(6) for chunk in llm.step() for token in chunk.token_ids]) == 6
    assert seen == {(str(solved / "01_radix_tree.py"), str(solved / "02_kv_cache.py"))}
    assert (radix_tree.match_prefix, kv_cache.KVCacheManager.allocate_blocks) == before
    yours = {line.split()[1] for line in str(llm.parts).splitlines() if " yours " in line}
    assert yours == {"1.1", "2.2"}
    assert not hasattr(engine(tiny), "parts")


def test_a_mistake_in_an_exercise_is_named_and_the_engine_lives_on(tiny, solved):
    """Would catch a learner's exception that kills the engine, or an error that does not say where it was raised."""
    file = solved / "01_radix_tree.py"
    text = file.read_text()
    file.write_text(text + "\n\ndef match_prefix(root, tokens, page_size=1):\n    return root.mistake\n")
    llm = engine(tiny, parts="exercises")
    output = llm.generate(PROMPT, GREEDY)[0]
    assert output.finish_reason == "error"
    assert "01_radix_tree.py" in output.error
    assert "in match_prefix" in output.error
    file.write_text(text)
    assert llm.generate(PROMPT, GREEDY)[0].finish_reason == "length"
    llm.check_integrity()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return (7", "{file} has a syntax error in line {line}: `return (7` ('(' was never closed).\n{stale}"),
        (WRONG, "{stale}"),
        (None, ""),
    ],
)
def test_what_had_passed_and_does_not_run_is_told(body, told, tiny, warm_up, capsys):
    """Would catch a learner who talks to the engine's own function and takes it for theirs."""
    warm_up.write(warm_up.RIGHT)
    api.exercise("0.1").check()
    if body is not None:
        warm_up.write(body)
    capsys.readouterr()
    llm, file = engine(tiny, parts="exercises"), find_exercise("0.1").file
    lines = files.read(file).split("\n")
    line = next((number for number, text in enumerate(lines, 1) if text.strip() == "return (7"), 0)
    stale = "Passed, but not as they stand now: 0.1. Check them again.\nYAIE's own functions run instead.\n"
    assert capsys.readouterr().err == told.format(file=file.name, line=line, stale=stale)
    assert llm.generate(PROMPT, GREEDY)[0].finish_reason == "length"


def test_unknown_parts_are_named(tiny):
    """Would catch a misspelt word that is taken for "no parts of mine"."""
    with pytest.raises(ValueError, match="'mine'"):
        engine(tiny, parts="mine")
