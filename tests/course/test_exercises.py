"""Every exercise keeps its promises: stubs, references, right and wrong answers, mistakes, through the real check."""

import pytest

import yaie.cuda
from yaie.course import REPOSITORY
from yaie.course.files import HOME, was_edited
from yaie.course.language import CUDA, cuda, engine_seam
from yaie.course.registry import exercise_files
from yaie.course.registry import exercises as all_exercises
from yaie.course.tools import generate, prove
from yaie.cuda.machine import for_hopper

EXERCISES = all_exercises()
CUDA_FILES = [file for file in exercise_files() if file.language is CUDA]
PROMISES = [promise for exercise in EXERCISES for promise in prove.promises(exercise)]


def by_id(value):
    return getattr(value, "id", None) or getattr(value, "name", None)


@pytest.fixture(scope="session")
def remembering():
    sandbox = prove.Remembering()
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_folder_lacks_nothing(exercise):
    """A mistake that quotes a line of yesterday, or two right answers that are one, prove nothing."""
    assert prove.lacks(exercise) == []


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise.exercise.id} {promise.name}")
def test_promise_is_kept(promise, remembering, at_home):
    """Each is a way in which a check misleads: see `prove.promises`, beside each kind."""
    broken = promise.broken(remembering)
    assert not broken, f"{promise.text}\n{broken}"


# Without what 15.1 gives, ptxas finds no registers for a consumer of rung 6; rung 5 is compiled with that stub.
NOT_IN = {"flash_attention/flash_attention_6_overlap.cu": {"15.1"}}


def with_stubs(file):
    """The engine's CUDA files with the stubs of an exercise file in them, by their names."""
    text, use = file.language.render(file), {exercise.id for exercise in file.exercises}
    path = HOME / file.name
    for module in cuda.by_compiled_file(file, use):
        name = cuda.under_csrc(module)
        if them := cuda.by_compiled_file(file, use - NOT_IN.get(name, set())).get(module):
            yield name, cuda.spliced(file, path, text, module, them)


@pytest.mark.parametrize("file", CUDA_FILES, ids=by_id)
@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="there is no nvcc")
def test_cuda_stubs_compile_with_nvcc(file):
    """A learner with a GPU starts from these: a stub that only the emulator's compiler takes stops them at once."""
    for name, text in with_stubs(file):
        arch = "sm_90a" if for_hopper(REPOSITORY / "csrc" / name) else "sm_90"
        # Helpers of the engine that only the taken out bodies use; of the element types one, for nvcc takes long.
        flags = ["-diag-suppress", "177", engine_seam.FLOAT16]
        usage = yaie.cuda.compile_cubin(text, arch, flags, path=REPOSITORY / "csrc" / name)
        assert usage.kernels or "__global__" not in text


@pytest.mark.parametrize("file", exercise_files(), ids=by_id)
def test_names_in_a_file_are_unique(file):
    """Two functions of one name could not be told apart in the learner's file."""
    names = [exercise.qualname for exercise in file.exercises]
    assert len(set(names)) == len(names)


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
