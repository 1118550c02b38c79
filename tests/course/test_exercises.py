"""Every exercise keeps its promises: stubs, references, mutants and other right answers, through the real check."""

import ast
import importlib.util
from pathlib import Path

import pytest

from yaie.course import checks, generate
from yaie.course.registry import exercises as all_exercises
from yaie.course.registry import lessons

EXERCISES = all_exercises()
MUTANTS = [(exercise, number) for exercise in EXERCISES for number in range(len(exercise.mutants))]


def right_answers(exercise):
    path = Path(__file__).parent / "right_answers" / f"lesson_{exercise.lesson.number:02d}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS[exercise.id]


def by_id(value):
    return value.id if hasattr(value, "id") else None


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_stub_is_not_attempted(exercise, sandbox, exercises):
    """A stub that counts as failed would greet the learner with red."""
    assert checks.check(exercise.id, sandbox=sandbox).status == checks.NOT_ATTEMPTED


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_reference_passes(exercise, sandbox, exercises):
    """A check that refuses the engine's own function is wrong."""
    outcome = checks.check(exercise.id, generate.solved_file(exercise.lesson), sandbox)
    assert outcome.passed, str(outcome)


@pytest.mark.parametrize(("exercise", "number"), MUTANTS, ids=by_id)
def test_mutant_fails_with_its_own_message(exercise, number, sandbox, exercises):
    """A mutant that passes shows a hole in the check; one with another's message misleads the learner."""
    mutant = exercise.mutants[number]
    text = generate.exercise_file(exercise.lesson, {exercise.id: generate.mutated(exercise, mutant)})
    outcome = checks.check(exercise.id, text, sandbox)
    assert outcome.status == checks.FAILED, str(outcome)
    assert dict(outcome.rows).get("Likely cause") == mutant.message, str(outcome)


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_three_other_right_answers_pass(exercise, sandbox, exercises):
    """A check that insists on one way of writing refuses learners who are right."""
    answers = right_answers(exercise)
    reference = ast.dump(ast.parse(generate.reference(exercise)))
    assert len(answers) >= 3
    assert len({ast.dump(ast.parse(answer)) for answer in answers} | {reference}) == len(answers) + 1
    for answer in answers:
        text = generate.exercise_file(exercise.lesson, {exercise.id: answer.strip()})
        outcome = checks.check(exercise.id, text, sandbox)
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


def test_generated_files_are_up_to_date():
    """An engine that changed while the exercise files did not sends learners after a function that is gone."""
    stale, edited = generate.out_of_date(generate.REPOSITORY / "exercises")
    for path in edited:
        print(f"{path.name}: edited by a learner, not compared")
    assert stale == []


def test_generating_again_changes_nothing(tmp_path):
    """A generator that depends on the order of sets or on the clock gives a new diff every time."""
    first, second = tmp_path / "first", tmp_path / "second"
    generate.write(first)
    generate.write(second)
    for lesson in lessons():
        if lesson.exercises:
            assert (first / lesson.exercise_file).read_text() == (second / lesson.exercise_file).read_text()
            assert not generate.was_edited((first / lesson.exercise_file).read_text())


def test_generated_files_can_be_imported_as_they_are(exercises):
    """A name that a signature needs and the file does not import would fail before the learner has typed a letter."""
    from yaie.course import learner

    for lesson in lessons():
        if lesson.exercises:
            learner.load(lesson, (exercises / lesson.exercise_file).read_text())
