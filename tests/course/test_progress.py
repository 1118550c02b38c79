"""The record of what was done: nothing in it, and nothing around it, may cost a learner a check."""

import json
import multiprocessing

import pytest

from yaie.course import api, files, judge, progress
from yaie.course.registry import exercises


@pytest.fixture(autouse=True)
def _forget_what_was_not_stored(monkeypatch):
    monkeypatch.setattr(progress, "_not_stored", {})


def stored(folder):
    return json.loads((folder / ".progress.json").read_text())


# Half written, of another kind, nested too deep, a number too long, of another encoding.
DAMAGED = [b"", b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\0" * 9]


def status_of(id):
    return {line.exercise.id: line.status for line in progress.board()[0]}[id]


def count_checks(times):
    def once(record):
        record.checks += 1

    for _ in range(times):
        assert progress.change("0.1", once) == ""


def test_board_follows_file_and_record(warm_up):
    """A board that trusts the record alone shows "passed" for a function that was edited or taken out since."""
    assert status_of("0.1") == judge.NOT_ATTEMPTED
    warm_up.write("return 1")
    assert status_of("0.1") == progress.CHANGED
    api.exercise("0.1").check()
    assert status_of("0.1") == judge.FAILED
    warm_up.write(warm_up.RIGHT)
    assert status_of("0.1") == progress.CHANGED
    api.exercise("0.1").check()
    assert status_of("0.1") == judge.PASSED
    warm_up.path.write_text("# a comment of mine\n" + warm_up.path.read_text())
    assert status_of("0.1") == judge.PASSED
    warm_up.path.write_text(warm_up.stub)
    assert status_of("0.1") == judge.NOT_ATTEMPTED
    assert stored(warm_up.path.parent)["0.1"]["checks"] == 2


def test_what_comes_next(warm_up):
    """The board must lead to the first exercise that has not passed, and from there to its notebook."""
    assert "Next: 0.1" in str(api.board())
    warm_up.write(warm_up.RIGHT)
    api.exercise("0.1").check()
    assert "Next: 1.1" in str(api.board())
    assert "notebooks/01_" in str(api.board())
    lines, _ = progress.board()
    assert api.next_step([line for line in lines if line.status == judge.PASSED]).startswith("Everything")


def test_syntax_error_does_not_take_a_pass_away(warm_up):
    """A file that is broken for a minute must not turn every exercise of the lesson red for ever."""
    warm_up.write(warm_up.RIGHT)
    api.exercise("0.1").check()
    warm_up.write("return (1")
    assert api.exercise("0.1").check().tone == "bad"
    assert status_of("0.1") == progress.CHANGED
    assert "syntax error" in str(api.board())
    warm_up.write(warm_up.RIGHT)
    assert status_of("0.1") == judge.PASSED


@pytest.mark.parametrize("content", [*DAMAGED, b"{}"])
def test_damaged_file_is_kept_aside(content, exercises):
    """A damaged record must not stop a check, and must not be destroyed by it either."""
    path = exercises / ".progress.json"
    path.write_bytes(content)
    lines, problems = progress.board()
    assert lines
    assert path.read_bytes() == content  # looking changes nothing
    count_checks(1)
    assert stored(exercises)["0.1"]["checks"] == 1
    aside = [other.read_bytes() for other in exercises.glob(".progress.json.damaged-*")]
    assert aside == ([] if content == b"{}" else [content])
    assert bool(problems) == (content != b"{}")


def test_records_of_other_versions_are_used_and_kept(exercises):
    """A field more, a field less or of another type must cost that field only, not the learner's whole history."""
    theirs = {
        "0.1": {"status": "passed", "source_hash": 5, "checks": 3, "rating": "good"},
        "1.1": {"hints": True, "checks": "many", "status": None},
        "1.2": {"hints": -7, "checks": -1, "source_hash": []},
        "9.9": {"status": "passed"},
        "8.8": "passed",
    }
    (exercises / ".progress.json").write_text(json.dumps(theirs))
    records, problem = progress.load()
    assert records["0.1"] == progress.Record(status="passed", checks=3)
    assert records["1.1"] == records["1.2"] == progress.Record()
    assert api.exercise("1.2").hint().title.startswith("Hint 1")
    assert api.board().folds
    assert "8.8" in problem
    count_checks(1)
    now = stored(exercises)
    assert (now["0.1"]["checks"], now["0.1"]["rating"]) == (4, "good")
    assert now["9.9"] == theirs["9.9"]
    assert json.loads(next(exercises.glob(".progress.json.damaged-*")).read_text()) == theirs


@pytest.mark.parametrize("in_the_way", [".progress.json.lock", ".progress.json"])
def test_folder_that_cannot_be_written(in_the_way, warm_up):
    """In a read-only folder the check must still be shown, with what was not stored, and the session remember it.

    A folder instead of the file stands for the missing permission, which the superuser would not notice.
    """
    (warm_up.path.parent / in_the_way).mkdir()
    warm_up.write(warm_up.RIGHT)
    panel = api.exercise("0.1").check()
    assert panel.tone == "good"
    assert "cannot be written" in dict(panel.rows)["Not stored"]
    assert status_of("0.1") == judge.PASSED
    assert api.exercise("0.1").hint().title.startswith("Hint 1")
    assert api.exercise("0.1").hint().title.startswith("Hint 2")
    (warm_up.path.parent / in_the_way).rmdir()
    assert "Not stored" not in dict(api.exercise("0.1").hint().rows)
    assert stored(warm_up.path.parent)["0.1"]["status"] == judge.PASSED


def test_interruption_leaves_the_old_record_and_no_temporary_file(exercises, monkeypatch):
    """Ctrl-C between writing and renaming must leave neither half a record nor litter."""
    count_checks(1)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        progress.change("0.1", lambda record: setattr(record, "checks", 99))
    assert stored(exercises)["0.1"]["checks"] == 1
    assert not list(exercises.glob("..progress.json*"))
    monkeypatch.undo()


def test_two_notebooks_at_once_lose_no_check(exercises):
    """Read, change, write without a lock loses one of two checks that are recorded at the same time."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=count_checks, args=(20,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert stored(exercises)["0.1"]["checks"] == 60


def test_hints_come_one_after_another(exercises):
    """All three hints at once, or the first for ever, is not what "layered" means."""
    titles = [api.exercise("0.1").hint().title[:6] for _ in range(4)]
    assert titles == ["Hint 1", "Hint 2", "Hint 3", "Hint 3"]
    assert api.exercise("0.1").hint(1).title.startswith("Hint 1")
    with pytest.raises(ValueError, match="there are hints 1 to 3"):
        api.exercise("0.1").hint(4)
    for wrong in (0, -1, True, 1.0, "1"):
        with pytest.raises(ValueError, match=f"hint {wrong!r} of exercise 0.1: there are hints 1 to 3"):
            api.exercise("0.1").hint(wrong)


def test_what_was_stored_late_is_forgotten_here(exercises):
    """What this process could not store must not hide, once it is stored, what another notebook records after that."""
    in_the_way = exercises / ".progress.json.lock"
    in_the_way.mkdir()
    assert "cannot be written" in progress.change("0.1", lambda record: setattr(record, "checks", 3))
    assert progress.load()[0]["0.1"].checks == 3
    in_the_way.rmdir()
    count_checks(1)
    (exercises / ".progress.json").write_text(json.dumps({"0.1": {"checks": 9}}))
    assert progress.load()[0]["0.1"].checks == 9


def test_a_reset_starts_over(warm_up):
    """The hints of the attempt before, or its pass, are not those of the one that begins."""
    warm_up.write(warm_up.RIGHT)
    api.exercise("0.1").check()
    api.exercise("0.1").hint()
    api.exercise("0.1").reset()
    record = progress.load()[0]["0.1"]
    assert (record.status, record.source_hash, record.hints, record.checks) == (judge.NOT_ATTEMPTED, "", 0, 1)
    assert api.exercise("0.1").hint().title.startswith("Hint 1")


def folded_out(board):
    return [fold.title[:2] for fold in board.folds if fold.is_open]


def test_board_unfolds_where_one_is(warm_up):
    """What failed, was edited or comes next must be seen without a click."""
    assert folded_out(api.board()) == ["00"]
    warm_up.write(warm_up.RIGHT)
    api.exercise("0.1").check()
    (warm_up.path.parent / "02_kv_cache.py").write_text(
        (warm_up.path.parent / "02_kv_cache.py").read_text().replace("raise NotImplementedError", "return (", 1)
    )
    assert folded_out(api.board()) == ["01"]
    assert len(folded_out(api.board(unfold=True))) == len(api.board().folds)
    assert "1 check" in str(api.board(unfold=True))
    assert api.board().link == "notebooks/01_radix_tree.ipynb"


def ids(first, last):
    return {each.id for each in exercises() if first <= each.lesson.number <= last}


@pytest.mark.parametrize(
    ("passed", "title"),
    [
        (ids(0, 7) - {"3.1"}, None),
        (ids(0, 7), "Your engine talks"),
        (ids(8, 17), "Your kernels serve"),
        (ids(0, 17), "Your kernels serve"),
        (ids(0, 99), "The course is done"),
    ],
)
def test_milestones(passed, title):
    """The panel must come when the last exercise has passed, and not one before."""
    panel = api.milestone(passed)
    assert (panel and panel.title) == title
    if panel:
        assert "yaie chat --exercises" in str(panel)
        assert [call for _, call in panel.calls if call.endswith(".parts")]


def test_check_that_completes_a_milestone_says_so(warm_up):
    """It would be found on the board only, a day later."""
    for id in ids(0, 7) - {"0.1"}:
        progress.change(id, lambda record: setattr(record, "status", judge.PASSED))
    warm_up.write(warm_up.RIGHT)
    panel = api.exercise("0.1").check()
    assert "Your engine talks" in dict(panel.rows)["Milestone"]
    assert "Milestone" not in dict(api.exercise("0.1").check().rows)
