"""Reset: the function is as it was generated, the rest stays, and what was there is in the backup, byte for byte."""

import pytest

from yaie.course import api, files
from yaie.course.registry import find_exercise

EXERCISE = find_exercise("0.1")
OWN = "\n    def mine(self):\n        return 1  # kept\n\n\nX = 'a form feed \x0c and a separator \u2028 in a line'\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_reset_exercise_keeps_everything_else(ends, mark, warm_up):
    """Line ends that change, or lines counted in another way than Python does, damage what is not the function."""
    text = "# my notes \x0c\n" + warm_up.text("x = 1\n\nreturn x", OWN)
    before = mark + text.replace("\n", ends).encode()
    warm_up.path.write_bytes(before)
    backup = files.reset_exercise(EXERCISE)
    assert backup.read_bytes() == before
    expected = "# my notes \x0c\n" + warm_up.stub + OWN
    assert warm_up.path.read_bytes() == expected.replace("\n", ends).encode()


CHANGED = {
    "parameters": lambda t: t.replace("num_tokens: int)", "n, m)"),
    "decorators": lambda t: t.replace("    def blocks_needed", "    @staticmethod\n    @other\n    def blocks_needed"),
    "async": lambda t: t.replace("    def blocks_needed", "    async def blocks_needed"),
    "one line": lambda t: t[: t.index("    def blocks_needed")] + "    def blocks_needed(self, num_tokens): return 1\n",
}


@pytest.mark.parametrize("name", CHANGED)
def test_reset_helps_with_a_changed_definition(name, warm_up):
    """Reset is the advice that a learner with a changed signature needs most, so it must not ask for the signature."""
    text = CHANGED[name](warm_up.text(warm_up.RIGHT))
    assert text != warm_up.text(warm_up.RIGHT)
    warm_up.path.write_text(text)
    assert api.exercise("0.1").reset().tone == "neutral"
    assert warm_up.path.read_text() == warm_up.stub


@pytest.mark.parametrize("what", ["0", "00", " 0 ", 0])
def test_reset_lesson_writes_the_file_anew(what, warm_up):
    """A file that Python cannot read can only be put back as a whole, by either way of writing the number."""
    warm_up.path.write_text("def (")
    panel = api.reset(what)
    assert warm_up.path.read_text() == warm_up.stub
    assert (warm_up.path.parent / ".backup").joinpath(dict(panel.rows)["Backup"]).read_text() == "def ("


def test_reset_of_an_unreadable_function_says_what_helps(warm_up):
    """A traceback would leave a learner with a broken file and no way back."""
    warm_up.path.write_text("def (")
    panel = api.exercise("0.1").reset()
    assert panel.tone == "bad"
    assert "`yaie reset 0`" in dict(panel.rows)["Next step"]
    assert warm_up.path.read_text() == "def ("


def test_reset_of_a_missing_file_writes_it(warm_up):
    """The message for a deleted file advises this."""
    warm_up.path.unlink()
    assert api.exercise("0.1").reset().tone == "neutral"
    assert warm_up.path.read_text() == warm_up.stub


def test_reset_changes_nothing_without_a_backup(warm_up):
    """Where the backup cannot be kept, an answer must not be overwritten."""
    warm_up.write("return 1")
    (warm_up.path.parent / ".backup").write_text("in the way")
    panel = api.exercise("0.1").reset()
    assert panel.tone == "bad"
    assert "It is as it was" in dict(panel.rows)["Next step"]
    assert warm_up.path.read_text() == warm_up.text("return 1")


def test_what_is_written_is_written_whole_or_not_at_all(warm_up, monkeypatch):
    """A stop while an answer is written must not leave half a file.

    Brothers: the file that is reset, its backup, the record of progress (`test_progress`), generated files: all are
    written by one function, of which this cuts every step.
    """

    def cut(*_):
        raise OSError(28, "No space left on device")

    warm_up.write("return 1")
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, step, cut)
            panel = api.reset("0.1")
            assert "No space left" in panel.text
            assert "It is as it was" in dict(panel.rows)["Next step"]
        assert warm_up.path.read_text() == warm_up.text("return 1")
    places = [warm_up.path.parent, warm_up.path.parent / ".backup"]
    assert not [path for place in places for path in place.glob(".0*")]


def test_backup_is_named_where_the_reset_then_fails(warm_up, monkeypatch):
    """A learner who reads "cannot be written" must know where the answer is."""
    warm_up.write("return 1")
    whole = files.write_whole

    def write(path, content):
        if path == warm_up.path:
            raise PermissionError(13, "Permission denied", str(path))
        whole(path, content)

    monkeypatch.setattr(files, "write_whole", write)
    panel = api.reset("0")
    backup = next((warm_up.path.parent / ".backup").iterdir())
    assert str(backup) in dict(panel.rows)["Next step"]
    assert backup.read_text() == warm_up.text("return 1")


def test_links_stay_and_modes_are_kept(warm_up, tmp_path_factory):
    """Learners keep their files in another repository and link to them: the link must not become a file."""
    elsewhere = tmp_path_factory.mktemp("mine") / "mine.py"
    warm_up.write("return 1")
    warm_up.path.rename(elsewhere)
    elsewhere.chmod(0o600)
    warm_up.path.symlink_to(elsewhere)
    api.reset("0.1")
    assert warm_up.path.is_symlink()
    assert elsewhere.read_text() == warm_up.stub
    assert elsewhere.stat().st_mode & 0o777 == 0o600


def test_reset_of_what_is_untouched_changes_nothing(warm_up):
    """A backup for nothing pushes out one that is worth keeping."""
    for what in ("0.1", "0"):
        before = warm_up.path.stat().st_mtime_ns
        assert "none" in dict(api.reset(what).rows)["Backup"]
        assert warm_up.path.stat().st_mtime_ns == before
    assert not (warm_up.path.parent / ".backup").exists()


def test_old_backups_go(warm_up):
    """A folder that only grows; another file's backups and a learner's own files in it stay."""
    folder = warm_up.path.parent / ".backup"
    folder.mkdir()
    others = [folder / "01_radix_tree.2026-01-01_00-00-00-000000.py", folder / "00_start_here.mine.py"]
    for path in others:
        path.write_text("kept")
    for number in range(files.BACKUPS + 3):
        warm_up.write(f"return {number}")
        newest = files.reset_exercise(EXERCISE)
    assert newest.read_text() == warm_up.text(f"return {files.BACKUPS + 2}")
    assert len(list(folder.iterdir())) == files.BACKUPS + 2
    assert all(path.exists() for path in others)


def test_two_resets_keep_two_backups(warm_up):
    """A second backup over the first loses the answer that was worth keeping."""
    for body in ("return 1", "return 2"):
        warm_up.write(body)
        files.reset_exercise(EXERCISE)
    kept = sorted((warm_up.path.parent / ".backup").iterdir())
    assert [path.read_text() for path in kept] == [warm_up.text("return 1"), warm_up.text("return 2")]


def test_every_exercise_can_be_solved_and_reset_again(exercises):
    """Decorators, class methods and module functions: reset must give back exactly what was generated."""
    from yaie.course.registry import exercise_files

    for file in exercise_files():
        path = files.exercise_path(file)
        path.write_text(file.language.solved(file))
        for exercise in file.exercises:
            files.reset_exercise(exercise)
        strip = [x for x in path.read_text().splitlines() if "text hash" not in x]
        generated = [x for x in file.language.render(file).splitlines() if "text hash" not in x]
        assert strip == generated
