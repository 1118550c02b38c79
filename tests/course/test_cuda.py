"""Exercises in CUDA: what is said about a learner's `.cu` file, how it gets into the engine's, that it does no harm.

Exercise 8.1 is the example. Tests that need several functions of one file make a lesson of their own.
"""

import time

import pytest
import torch

import yaie.cuda
from tests.course.conftest import Limited
from yaie.course import REPOSITORY, api, files, judge, parts
from yaie.course.language import CUDA, cuda, engine_seam
from yaie.course.registry import Exercise, Lesson, find_exercise

EXERCISE = find_exercise("8.1")
FILE = EXERCISE.file
RIGHT = EXERCISE.language.reference(EXERCISE)
HEAD = RIGHT.partition("{")[0]
NAME = "08_first_kernel.cu"
LINE = FILE.language.render(FILE).partition(HEAD)[0].count("\n") + 1  # where the function starts


def text_with(function, after=""):
    """The learner's file with `function` instead of the stub."""
    return FILE.language.render(FILE, {"8.1": function}) + after


def check(function, sandbox):
    return judge.check("8.1", text_with(function), sandbox)


# ---- a file that the engine cannot use

PROBLEMS = {
    "parameter type": (RIGHT.replace("int64_t n", "int n"), "takes (const float*, const float*, float*, int)"),
    "parameter lost": (RIGHT.replace(", int64_t n", ""), "takes (const float*, const float*, float*)"),
    "parameter added": (
        RIGHT.replace("int64_t n", "int64_t n, int m"),
        "takes (const float*, const float*, float*, int64_t",
    ),
    "const lost": (RIGHT.replace("const float* b", "float* b"), "takes (const float*, float*,"),
    "result": (RIGHT.replace("void", "int"), "declared as `__global__ int`; the engine's as `__global__ void`"),
    "no kernel": (RIGHT.replace("__global__ ", ""), "declared as `void`"),
    "renamed": (RIGHT.replace("add_guarded", "add_guard"), "It has `add_guard`: was it renamed?"),
    "declared only": (HEAD.strip() + ";", "a declaration of that name, which ends with `;`"),
    "gone": ("// nothing", "has no function `add_guarded`"),
    "brace missing": (RIGHT[:-1], f"the `{{` in line {LINE}, of `add_guarded`, is not closed before the next function"),
    "brace too many": (RIGHT + "\n}", f"the `}}` in line {LINE + 6} closes nothing"),
    "null byte": (RIGHT + "\0", "contains null bytes"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problem_is_named(name, exercises):
    """What the compiler would say about the engine's launcher tells a learner nothing about their own file."""
    function, message = PROBLEMS[name]
    assert function != RIGHT
    with pytest.raises(files.FileProblem) as caught:
        EXERCISE.language.find(EXERCISE, text_with(function))
    assert message in caught.value.problem
    assert NAME in caught.value.problem
    assert caught.value.next_step


def test_brace_missing_elsewhere_is_said_to_be_elsewhere(exercises):
    """A learner must not search their right function for the brace of another one."""
    text = text_with(RIGHT, "__global__ void mine() { if (true) {\n}\n__global__ void next() {}\n")
    line = text.split("\n").index("__global__ void next() {}") + 1
    with pytest.raises(files.FileProblem) as caught:
        EXERCISE.language.find(EXERCISE, text)
    assert f"of `mine`, is not closed before the next function, in line {line}" in caught.value.problem
    assert caught.value.next_step.startswith("It is in `mine`, not in `add_guarded`.")


ACCEPTED = {
    "names of one's own": RIGHT.replace("a,", "x,").replace("a[i]", "x[i]"),
    "restrict and const": HEAD.replace("float* b", "float* __restrict__ b").replace("int64_t n", "const int64_t n")
    + "{ int i; }",
    "launch bounds": RIGHT.replace("__global__ void", "__global__ void __launch_bounds__(256)"),
    "other layout": RIGHT.replace("(const", "(\n    float const").replace("float const float*", "float const*"),
    "comments between": RIGHT.replace("float* c", "float* /* the { sum */ c"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_change_that_does_no_harm_is_accepted(name, exercises):
    """Refusing what the engine can launch would punish a good answer."""
    assert ACCEPTED[name] != RIGHT
    assert EXERCISE.language.find(EXERCISE, text_with(ACCEPTED[name])).attempted


def test_hash_follows_the_function_and_its_helpers_only(exercises):
    """A pass must not be lost over a comment, nor outlive a change of the helper that the function calls."""
    own = "__device__ float twice(float x) { return 2 * x; }\n"
    function = RIGHT.replace("a[i]", "twice(a[i])")

    def hash_of(text):
        return EXERCISE.language.find(EXERCISE, text).hash

    first = hash_of(text_with(own + function))
    assert first == hash_of(text_with(own + function.replace("{\n", "{  // start\n\n", 1), "// end\nint unused = 1;\n"))
    assert first != hash_of(text_with(own.replace("2", "3") + function))
    assert first != hash_of(text_with(own + function.replace("i < n", "i <= n")))
    assert EXERCISE.language.find(EXERCISE, text_with(HEAD + "{ /* plan */ }")).hash == ""


def test_read_takes_windows_line_ends(sandbox, exercises):
    """Editors on Windows write them; they are not the learner's mistake, in the check or in a reset."""
    path = files.exercise_path(FILE)
    path.write_bytes(text_with(RIGHT).replace("\n", "\r\n").encode("utf-8-sig"))
    assert judge.check("8.1", sandbox=sandbox).passed
    backup = files.reset_exercise(EXERCISE)
    assert (backup.parent.name, backup.suffix) == (".backup", ".cu")
    assert b"\r\n" in path.read_bytes()
    assert judge.check("8.1", sandbox=sandbox).status == judge.NOT_ATTEMPTED


# ---- what a check says

REPORTS = {
    "out of bounds": (
        HEAD + "{\n    c[threadIdx.x] = 1;\n}",
        "Out-of-bounds write of 4 bytes in add_guarded, block (0,0,0) thread (5,0,0).",
        f"line {LINE + 1}: `c[threadIdx.x] = 1;`",
    ),
    "syntax": (HEAD + "{\n    int i = 1\n    i = 2;\n}", "It does not compile.", f"line {LINE + 2}: `i = 2;`"),
    "unknown name": (HEAD + "{\n    c[0] = nothing;\n}", "It does not compile.", f"line {LINE + 1}: `c[0] = nothing;`"),
    "inline PTX": (HEAD + '{\n    asm("nop;");\n}', "It does not compile.", f'line {LINE + 1}: `asm("nop;");`'),
    "endless loop": (
        HEAD + "{\n    while (true) { c[0] = 1; }\n}",
        "Endless loop in add_guarded",
        f"line {LINE + 1}: `while (true) {{ c[0] = 1; }}`",
    ),
    "shared array": (HEAD + "{\n    __shared__ = 3;\n}", "It does not compile.", f"line {LINE + 1}: `__shared__ = 3;`"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_report_names_the_learners_line(name, sandbox, at_home, monkeypatch):
    """A line of the engine's file, or of what was made of it, is none that the learner can fix."""
    monkeypatch.setattr(judge, "CALL_LIMIT", 0.5)
    function, headline, line = REPORTS[name]
    started = time.monotonic()
    outcome = check(function, sandbox)
    assert outcome.status == judge.FAILED
    assert outcome.headline.startswith(headline)
    rows = dict(outcome.rows)
    assert rows["Where"] == f"{NAME}, {line}"
    assert str(REPOSITORY) not in str(outcome)
    assert time.monotonic() - started < 60  # on a machine where others work, too


def test_finding_without_a_known_mistake_gives_its_usual_cause(sandbox, at_home):
    """A mistake that nobody foresaw still has the emulator's sentence about why it usually happens."""
    outcome = check(HEAD + "{\n    c[n + threadIdx.x] = 1;\n}", sandbox)
    assert dict(outcome.rows)["Likely cause"].startswith("The index is wrong, or a guard such as")
    assert "element 5 is past its end" in dict(outcome.rows)["Found"]


WALK = find_exercise("12.1")
OUTSIDE = {  # what the learner's function gives back leads the engine astray
    "another page size": ("block_size)", "1)", "problem.cuh"),
    "a negative slot": ("return ", "return -1000000 + ", "check.cu"),
    "far too large": ("return ", "return 1000000 + ", "check.cu"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_finding_in_the_engines_line_is_not_to_be_fixed_there(name, sandbox, at_home):
    """ "Fix that line" under a line of the engine's, and a guard that it lacks as the cause, send a learner into a file
    that is not theirs. Brothers: whatever was seen outside of the learner's file, by the emulator or by the clock."""
    head, _, body = WALK.language.reference(WALK).partition("{")
    old, new, where = OUTSIDE[name]
    answer = f"{head}{{{body.replace(old, new)}"
    outcome = judge.check("12.1", WALK.language.render(WALK.file, {"12.1": answer}), sandbox)
    rows = dict(outcome.rows)
    assert outcome.status == judge.FAILED
    assert where in rows["Found"]
    assert "Likely cause" not in rows
    if name == "another page size":  # passed on in a call, whose line is the learner's
        assert rows["Where"].endswith(", 1);`")
        assert rows["Next step"].startswith("That line leads there: look at what it passes on")
    else:
        assert "Where" not in rows
        assert rows["Next step"].startswith("That line is not yours: look at what your `slot_of_lane` returns")


def test_name_that_the_engine_has_already_is_explained(sandbox, at_home):
    """The learner sees one file; that another stands around it must be said when the two collide."""
    outcome = check("__device__ int vector_add = 2;\n" + RIGHT.replace("i < n", "i < n + 0 * vector_add"), sandbox)
    assert outcome.headline == "It does not compile."
    assert "has that name already" in dict(outcome.rows)["Note"]


KEPT = "#define KEPT x\n"  # what a macro mentions is compiled, too; a kernel must not use a variable of the host
HOSTILE = {
    "exit of the host": ("static int x = (exit(3), 1);\n" + KEPT + HEAD + "{\n    (void)n;\n}", "exit code 1"),
    "exit in the kernel": (HEAD + "{\n    exit(4);\n}", "End of the program in add_guarded"),
    "segfault of the host": ("static int x = *(volatile int*)8;\n" + KEPT + HEAD + "{\n    (void)n;\n}", "SIGSEGV"),
    "null pointer in the kernel": (HEAD + "{\n    c[*(volatile int*)0] = 1;\n}", "Out-of-bounds read of 4 bytes"),
    "abort": ("static int x = (abort(), 1);\n" + KEPT + HEAD + "{\n    (void)n;\n}", "exit code 1"),
    "full memory": (
        "#include <vector>\nstatic std::vector<char> x(1ull << 34, 1);\n" + KEPT + HEAD + "{\n    (void)n;\n}",
        "SIGABRT",
    ),
    "huge array": (
        HEAD + "{\n    volatile char x[1 << 24];\n    x[threadIdx.x] = 1;\n    c[0] = x[5];\n}",
        "Stack overflow",
    ),
    "loop of the host": (
        "static int f() { volatile int i = 1; while (i) {} return 1; }\nstatic int x = f();\n"
        + KEPT
        + HEAD
        + "{\n    (void)n;\n}",
        "still running after",
    ),
    "endless compilation": (
        "template <int N> struct F { static constexpr int v = F<N - 1>::v + F<N - 2>::v + F<N - 1 - (N > 90)>::v; };\n"
        + HEAD
        + "{\n    c[0] = F<1 << 30>::v;\n}",
        "It does not compile.",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_named(name, sandbox, at_home):
    """Code that ends, blocks or fills its process must give a message, and the next check must work."""
    function, message = HOSTILE[name]
    outcome = check(function, Limited(sandbox, 1.0) if "loop" in name else sandbox)
    assert outcome.status == judge.FAILED
    assert message in outcome.headline, str(outcome)
    assert check(RIGHT, sandbox).passed


def test_no_compiler_is_said(sandbox, exercises, monkeypatch):
    """On a machine without a C++ compiler the learner needs the command that installs one."""
    monkeypatch.setattr(
        yaie.cuda, "find_compiler", lambda: (_ for _ in ()).throw(yaie.cuda.CompileError("no C++ compiler"))
    )
    files.exercise_path(FILE).write_text(text_with(RIGHT))
    assert "no C++ compiler" in str(api.exercise("8.1").check())


def test_mistakes_are_built_once(monkeypatch):
    """Each check that fails asks for the builds of all mistakes: to look up dozens that are there takes time, too."""
    asked = []
    monkeypatch.setattr(engine_seam, "_prepared", set())
    monkeypatch.setattr(yaie.cuda, "prepare", lambda texts, flags: asked.append([text for text, _ in texts]))
    for texts in (["one", "two"], ["one", "three"]):
        engine_seam.prepare(("warmup/vector_add.cu", text) for text in texts)
    assert asked == [["one", "two"], ["three"]]


# ---- into the engine


@pytest.fixture
def reduction():
    """Two exercises of one file of the engine, and one of another, in one lesson."""
    lesson = Lesson(99, "none", "None", 1)
    fields = {
        "title": "",
        "minutes": 1,
        "difficulty": 1,
        "statement": "",
        "hints": (),
        "mistakes": (),
        "folder": None,
        "lesson": lesson,
    }
    targets = ["reduce.cu:reduce_2_kernel", "reduce.cu:reduce_3_kernel", "transpose.cu:transpose_tile_kernel"]
    for number, target in enumerate(targets, 1):
        lesson.exercises.append(Exercise(id=f"99.{number}", target=f"csrc/memory/{target}", **fields))
    return lesson.files[0]


def solved(file, *ids):
    bodies = {exercise.id: exercise.language.reference(exercise) for exercise in file.exercises if exercise.id in ids}
    return file.language.render(file, bodies)


def spliced(file, text, *ids):
    """The texts of the engine's files, by their paths, with the functions of exercises in them."""
    wanted = cuda.by_compiled_file(file, set(ids)).items()
    path = files.exercise_path(file)
    return {cuda.under_csrc(module): cuda.spliced(file, path, text, module, them) for module, them in wanted}


def total(module, launcher):
    x = torch.arange(1000, dtype=torch.float32)
    out = torch.zeros(1)
    getattr(module, launcher)(x, out, 1000)
    return out.item()


def test_functions_of_one_file_combine(reduction, exercises):
    """Two exercises of one file, each with a helper of the learner's own, must be in force together, then out again."""
    text = solved(reduction, "99.1", "99.2").replace(
        "__global__ void reduce_3", "constexpr float K = 3;\n__global__ void reduce_3"
    )
    text = text.replace("atomicAdd(total, partial[0])", "atomicAdd(total, twice(partial[0]))")
    text = text.replace("atomicAdd(total, sum)", "atomicAdd(total, K * sum)")
    text += "__device__ float twice(float x);\n__device__ float twice(float x) { return 2 * x; }\n"
    # `twice` is used before its definition: a declaration must do, as in any C++ file.
    text = text.replace(
        "// ---------- Exercise 99.1", "__device__ float twice(float x);\n\n// ---------- Exercise 99.1"
    )
    one, two = reduction.exercises[:2]
    undo = CUDA.install(reduction, text, ["99.1", "99.2"])
    module = engine_seam.module("memory/reduce.cu", "emulator", check=True)
    assert list(engine_seam.sources()) == ["memory/reduce.cu"]
    assert [total(module, f"reduce_{name}") for name in ("1_atomics", "2_shared", "3_shuffle")] == [
        499500,
        999000,
        1498500,
    ]
    assert (CUDA.owner(one), CUDA.owner(two)) == ("99_none.cu", "99_none.cu")
    undo.take_out()
    assert engine_seam.sources() == {}
    assert CUDA.owner(one) == "reduce.cu"
    undo.take_out()  # a second time changes nothing


def test_a_launcher_takes_its_own_kernels_with_it(exercises):
    """A blank page: what is left of the engine's kernel would be the answer, or clash with one of the same name."""
    exercise = find_exercise("9.5")
    text = exercise.file.language.solved(exercise.file)
    made = spliced(exercise.file, text, exercise.id)["primitives/softmax_rows.cu"]
    assert made.count("__global__") == made.count("softmax_rows_kernel(") == 1
    assert "softmax_rows_kernel" not in exercise.file.language.render(exercise.file)


def test_a_launcher_leaves_what_others_need(exercises):
    """reduce.cu has kernels, sizes and launchers that several share: taken out, the rest would not compile."""
    launcher = CUDA.reference(find_exercise("10.18"))
    assert launcher.startswith('extern "C" int reduce_2_shared(')
    assert launcher.count("{") == 1


def test_installing_on_top_keeps_what_is_there(reduction, exercises):
    """Lessons share files of the engine: the second one's function must not throw the first one's out."""
    text = solved(reduction, "99.1", "99.2").replace("atomicAdd(total, partial[0])", "atomicAdd(total, 5.0f)")
    outer = CUDA.install(reduction, text, ["99.1"])
    inner = CUDA.install(reduction, text.replace("atomicAdd(total, sum)", "atomicAdd(total, 7.0f)"), ["99.2"])
    module = engine_seam.module("memory/reduce.cu", "emulator")
    assert (total(module, "reduce_2_shared"), total(module, "reduce_3_shuffle")) == (20, 7 * 4)
    inner.take_out()
    assert CUDA.owner(reduction.exercises[0]) == "99_none.cu"
    assert CUDA.owner(reduction.exercises[1]) == "reduce.cu"
    outer.take_out()
    assert engine_seam.sources() == {}


def test_what_belongs_to_another_file_stays_out(reduction, exercises):
    """A helper that uses a constant of transpose.cu does not compile inside reduce.cu, and is not needed there."""
    text = solved(reduction, "99.1", "99.3") + "__device__ int half_a_tile() { return TILE / 2; }\n"
    undo = CUDA.install(reduction, text, ["99.1", "99.3"])
    assert set(engine_seam.sources()) == {"memory/reduce.cu", "memory/transpose.cu"}
    assert "half_a_tile" not in engine_seam.sources()["memory/reduce.cu"]
    assert total(engine_seam.module("memory/reduce.cu", "emulator"), "reduce_2_shared") == 499500
    undo.take_out()


def test_engine_lines_keep_their_numbers(reduction, exercises):
    """Behind the learner's function the engine's file must go on in its own lines, for errors and for profiles."""
    text = solved(reduction, "99.1")
    (combined,) = spliced(reduction, text, "99.1").values()
    engine = (REPOSITORY / "csrc/memory/reduce.cu").read_text().split("\n")
    lines = yaie.cuda.source.read_source(combined, REPOSITORY / "csrc/memory/reduce.cu").lines()
    shown = lines[str(REPOSITORY / "csrc/memory/reduce.cu")]
    start = next(i for i, line in enumerate(engine) if "void reduce_2_kernel" in line)
    end = next(i for i, line in enumerate(engine) if "// The sum over the 32 lanes" in line)
    assert shown[:start] == engine[:start]
    assert shown[end:] == engine[end:]
    own, written = lines[str(files.exercise_path(reduction))], text.split("\n")
    assert any("atomicAdd" in line for line in own)
    assert all(line.strip() in ("", written[place].strip()) for place, line in enumerate(own))


@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="there is no nvcc")
def test_nvcc_names_the_learners_line(exercises):
    """With a GPU, too, errors must lead to the learner's file, and headers beside the engine's file must be found."""
    function = HEAD + "{\n    c[0] = nothing;\n}"
    home = REPOSITORY / "csrc/warmup/vector_add.cu"
    text = spliced(FILE, text_with(function), "8.1")["warmup/vector_add.cu"]
    with pytest.raises(yaie.cuda.CompileError) as caught:
        yaie.cuda.compile_cubin(text, path=home)
    assert (caught.value.file, caught.value.line) == (str(files.exercise_path(FILE)), LINE + 1)
    assert "c[0] = nothing;" in str(caught.value)
    own = '#include "../common.cuh"\n' + RIGHT.replace("a[i] +", "to_float(a[i]) +")
    text = spliced(FILE, text_with(own), "8.1")["warmup/vector_add.cu"]
    assert [usage.kernel for usage in yaie.cuda.compile_cubin(text, path=home).kernels]


def test_module_has_the_learners_function(exercises):
    """A profile in a notebook must show the learner's own lines, and the engine's while nothing has been written."""
    a, c = torch.ones(300), torch.zeros(300)
    module = api.exercise("8.1").module("emulator")
    assert {line.file.rsplit("/")[-1] for line in module.profile("vector_add", a, a, c, 300).lines} == {"vector_add.cu"}
    files.exercise_path(FILE).write_text(text_with(RIGHT))
    module = api.exercise("8.1").module("emulator")
    profile = module.profile("vector_add", a, a, c, 300)
    assert {line.file.rsplit("/")[-1] for line in profile.lines} == {NAME}
    assert "c[i] = a[i] + b[i];" in str(profile)
    assert engine_seam.sources() == {}
    with pytest.raises(ValueError, match="in Python"):
        api.exercise("0.1").module()


def test_parts_put_cuda_functions_in_and_take_them_out(exercises):
    """`parts="exercises"` must run the learner's kernels in the engine, and the board must say so."""
    files.exercise_path(FILE).write_text(text_with(RIGHT.replace("a[i] +", "2 * a[i] +")))
    a, c = torch.ones(3), torch.zeros(3)
    with parts.installed(["8.1"]):
        engine_seam.module("warmup/vector_add.cu", "emulator").vector_add(a, a, c, 3)
        row = next(cells for _, cells in parts.who_runs().rows if cells[0] == "8.1")
        assert row[2:] == ("yours", NAME)
    assert c.tolist() == [3, 3, 3]
    engine_seam.module("warmup/vector_add.cu", "emulator").vector_add(a, a, c, 3)
    assert c.tolist() == [2, 2, 2]


def test_parts_of_one_file_inside_one_another(exercises):
    """What was put together inside another block holds that block's functions, and must not be used outside of it."""
    files.exercise_path(FILE).write_text(FILE.language.solved(FILE))

    def yours():
        return [cells[0] for _, cells in parts.who_runs().rows if cells[2] == "yours"]

    for _ in range(2):  # the first time it is put together in there, the second time it has been put in alone
        with parts.installed(["8.1"]):
            with parts.installed(["8.2"]):
                assert yours() == ["8.1", "8.2"]
            assert yours() == ["8.1"]
        with parts.installed(["8.2"]):
            assert yours() == ["8.2"]
        assert yours() == []


def test_one_of_two_functions_that_a_file_includes(exercises):
    """Whose the other one is was asked of a text that has its header's name alone, and the whole board broke."""
    file = find_exercise("12.2").file
    files.exercise_path(file).write_text(file.language.solved(file))
    with parts.installed(["12.2"]):
        whose = {cells[0]: cells[2] for _, cells in parts.who_runs().rows}
    assert (whose["12.2"], whose["12.5"]) == ("yours", "YAIE's")


def test_learners_kernel_serves_the_engine(exercises):
    """What the engine calls through `yaie.kernels.api` must be the learner's function, and only while it is in."""
    from yaie.kernels import api

    nine = find_exercise("9.1")
    backwards = CUDA.changed(nine, nine.mistakes[2].old, nine.mistakes[2].new)  # source and target have changed places
    files.exercise_path(nine.file).write_text(nine.file.language.render(nine.file, {"9.1": backwards}))
    pair = torch.tensor([[0, 1]])

    def copied():
        key = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 4, 1, 2).contiguous()
        api.copy_blocks(key, key.clone(), pair, backend="emulator")
        return key[:, 0, 0, 0].tolist()

    with parts.installed(["9.1"]):
        assert copied() == [1, 1]
    assert copied() == [0, 0]


def test_a_save_is_checked(exercises, sandbox, monkeypatch):
    """`yaie watch` must see `.cu` files, and check only what changed in them."""
    from yaie.course import watch

    monkeypatch.setattr(judge, "_sandbox", sandbox)
    path = files.exercise_path(FILE)

    def saves():
        for text in (text_with(RIGHT), text_with(RIGHT[:-1]), text_with(RIGHT)):
            path.write_text(text)
            yield {NAME}

    monkeypatch.setattr(watch, "_saves", saves)
    titles = [panel.title for panel in watch.watch()]
    passed = "8.1 One thread per element: passed"
    assert titles == [passed, "This file cannot be used yet", f"{NAME} was saved; no exercise in it has changed"]


def test_a_constant_of_the_last_exercise_does_not_meet_the_engines(sandbox, at_home):
    """TILE is a constant of the engine's transpose: 9.3 did not compile any more once 9.5 had one of that name."""
    softmax = find_exercise("9.5")
    solved = softmax.language.solved(softmax.file).replace("ROW_THREADS", "TILE")
    assert "constexpr int TILE = 256" in solved
    for id in ("9.3", "9.5"):
        assert judge.check(id, solved, sandbox).passed


def test_a_macro_with_a_name_of_the_engines_is_named(sandbox, at_home):
    """It would change the engine's launcher, too: THREADS made a right sum read memory that nobody had written."""
    reduce = find_exercise("9.4")
    solved = reduce.language.solved(reduce.file)
    above = solved.replace("\ntemplate", "\n#define THREADS 32\ntemplate", 1)
    outcome = judge.check("9.4", above, sandbox)
    assert outcome.status == judge.FAILED
    assert outcome.headline.startswith(
        f"The macro `THREADS` in line {above[: above.index('#define')].count(chr(10)) + 1}"
    )
    assert judge.check("9.4", above.replace("THREADS 32", "MY_THREADS 32"), sandbox).passed
