"""Every exercise keeps its promises: stubs, references, mutants and other right answers, through the real check."""

import ast
import importlib.util
import json
from pathlib import Path

import pytest

import yaie.cuda
from yaie.course import judge
from yaie.course.files import was_edited
from yaie.course.language import CUDA, cuda, cuda_text
from yaie.course.registry import REPOSITORY, exercise_files
from yaie.course.registry import exercises as all_exercises
from yaie.course.tools import generate

EXERCISES = all_exercises()
IN_CUDA = [exercise for exercise in EXERCISES if exercise.language is CUDA]
CUDA_FILES = [file for file in exercise_files() if file.language is CUDA]
MUTANTS = [(exercise, number) for exercise in EXERCISES for number in range(len(exercise.mutants))]


def right_answers(exercise):
    path = Path(__file__).parent / "right_answers" / f"lesson_{exercise.lesson.number:02d}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS[exercise.id]


def by_id(value):
    return getattr(value, "id", None) or getattr(value, "name", None)


class Remembering:
    """The sandbox, which runs the same job once: the check of each mutant runs the mutants before it, too."""

    def __init__(self, sandbox):
        self.sandbox, self.reports = sandbox, {}

    def run(self, job):
        key = json.dumps(job, sort_keys=True)
        if key not in self.reports:
            self.reports[key] = self.sandbox.run(job)
        return self.reports[key]


@pytest.fixture(scope="module")
def remembering(sandbox):
    return Remembering(sandbox)


@pytest.fixture
def at_home(monkeypatch):
    """Exercise files are said to lie where they always do: a text that was compiled once is not compiled again.

    For tests that give the text of a file; they read none and write none.
    """
    monkeypatch.delenv("YAIE_EXERCISES_DIR", raising=False)


def code_of(exercise, text):
    """What an answer says, whatever its layout and comments."""
    return cuda_text.normal(text) if exercise.language is CUDA else ast.dump(ast.parse(text))


def with_stubs(file):
    """The engine's CUDA files with the stubs of an exercise file in them, by their names."""
    text, use = file.language.render(file), {exercise.id for exercise in file.exercises}
    path = REPOSITORY / "exercises" / file.name
    wanted = cuda.by_compiled_file(file, use).items()
    return {cuda.under_csrc(module): cuda.spliced(file, path, text, module, them) for module, them in wanted}


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_stub_is_not_attempted(exercise, sandbox, exercises):
    """A stub that counts as failed would greet the learner with red."""
    assert judge.check(exercise.id, sandbox=sandbox).status == judge.NOT_ATTEMPTED


@pytest.mark.parametrize("exercise", IN_CUDA, ids=by_id)
def test_cuda_stub_compiles_and_does_nothing(exercise, sandbox, at_home):
    """A stub that does not compile, or a check that is content with nothing, is worthless to a learner.

    A statement of no effect makes the stub count as attempted.
    """
    body = exercise.language.stub(exercise).replace("{", "{ (void)0;", 1)
    outcome = judge.check(exercise.id, exercise.file.language.render(exercise.file, {exercise.id: body}), sandbox)
    assert outcome.status == judge.FAILED
    assert outcome.headline != "It does not compile.", str(outcome)


@pytest.mark.parametrize("file", CUDA_FILES, ids=by_id)
@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="there is no nvcc")
def test_cuda_stubs_compile_with_nvcc(file):
    """A learner with a GPU starts from these: a stub that only the emulator's compiler takes stops them at once."""
    for name, text in with_stubs(file).items():
        flags = ["-diag-suppress", "177"]  # helpers of the engine that only the taken out bodies use
        usage = yaie.cuda.compile_cubin(text, "sm_90", flags, path=REPOSITORY / "csrc" / name)
        assert usage.kernels


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_reference_passes(exercise, sandbox, at_home):
    """A check that refuses the engine's own function is wrong."""
    outcome = judge.check(exercise.id, exercise.file.language.solved(exercise.file), sandbox)
    assert outcome.passed, str(outcome)


@pytest.mark.parametrize(("exercise", "number"), MUTANTS, ids=by_id)
def test_mutant_fails_with_its_own_message(exercise, number, remembering, at_home):
    """A mutant that passes shows a hole in the check; one with another's message misleads the learner."""
    mutant = exercise.mutants[number]
    text = exercise.file.language.render(
        exercise.file, {exercise.id: exercise.language.changed(exercise, mutant.old, mutant.new)}
    )
    outcome = judge.check(exercise.id, text, remembering)
    assert outcome.status == judge.FAILED, str(outcome)
    assert dict(outcome.rows).get("Likely cause") == mutant.message, str(outcome)


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_three_other_right_answers_pass(exercise, sandbox, at_home):
    """A check that insists on one way of writing refuses learners who are right."""
    answers = right_answers(exercise)
    reference = code_of(exercise, exercise.language.reference(exercise))
    assert len(answers) >= 3
    assert len({code_of(exercise, answer) for answer in answers} | {reference}) == len(answers) + 1
    for answer in answers:
        text = exercise.file.language.render(exercise.file, {exercise.id: answer.strip()})
        outcome = judge.check(exercise.id, text, sandbox)
        assert outcome.passed, f"{answer}\n{outcome}"


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_exercise_is_complete(exercise):
    """A learner needs a time, three hints that differ, a task, and prerequisites that exist and come before."""
    earlier = [other.id for other in EXERCISES[: EXERCISES.index(exercise)]]
    assert len(set(exercise.hints)) == 3
    assert all(exercise.hints)
    assert len(exercise.mutants) >= 2
    assert exercise.minutes > 0
    assert exercise.task
    assert set(exercise.requires) <= set(earlier)
    assert exercise.id.split(".")[0] == str(exercise.lesson.number)


@pytest.mark.parametrize("file", exercise_files(), ids=by_id)
def test_names_in_a_file_are_unique(file):
    """Two functions of one name could not be told apart in the learner's file."""
    names = [exercise.qualname for exercise in file.exercises]
    assert len(set(names)) == len(names)


def test_generated_files_are_up_to_date():
    """An engine that changed while the exercise files did not sends learners after a function that is gone."""
    stale, edited = generate.out_of_date(REPOSITORY / "exercises")
    for path in edited:
        print(f"{path.name}: edited by a learner, not compared")
    assert stale == []


def test_generating_again_changes_nothing(tmp_path):
    """A generator that depends on the order of sets or on the clock gives a new diff every time."""
    first, second = tmp_path / "first", tmp_path / "second"
    generate.write(first)
    generate.write(second)
    for file in exercise_files():
        assert (first / file.name).read_text() == (second / file.name).read_text()
        assert not was_edited((first / file.name).read_text())


def test_generated_files_can_be_imported_as_they_are(exercises):
    """A name that a signature needs and the file does not import would fail before the learner has typed a letter."""
    for file in exercise_files():
        assert file.language.load(file, (exercises / file.name).read_text())
