"""Every exercise of an engine's function, once solved, is run by the serving engine.

The engine's own functions stand in the learners' files as their answers, each with a line that tells that it ran. An
engine with `parts="exercises"` then answers prompts, in Python on torch and in CUDA on the emulator. Exercises that the
engine runs by different rungs of one ladder, or that have the same function, take turns.
"""

import ast
import io
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace

import pytest
import torch

import yaie
from tests.course.conftest import same_folder
from tests.server.conftest import running, tiny
from yaie.course import parts
from yaie.course.language import CUDA, PYTHON, cuda
from yaie.course.registry import exercises
from yaie.kernels.ops import launching
from yaie.models.config import ModelConfig
from yaie.models.llama import Llama

ROOMS = ("yaie.server.", "yaie.engine.", "yaie.models.", "yaie.parallel.", "yaie.kernels.", "csrc/")
EXERCISES = [exercise for exercise in exercises() if exercise.module.startswith(ROOMS)]

# What a step of the engine does not call, and why there is an exercise all the same.
NOT_IN_A_STEP = {
    "2.4": "a fork: the guide's cache has it, for several answers to one prompt; the engine shares pages by its tree",
    "2.5": "a copy before a write to a shared page: only a fork shares pages that are written to",
    "4.5": "numbers of a generator, which has a state: the engine's follow from a seed and from how many came before",
    "5.4": "generation without an engine, to see what an engine has to be faster than",
    "8.1": "a first kernel, to warm up",
    "8.2": "a first kernel, to warm up",
    "8.3": "one vector of two, to see that stores can move too much",
    "9.1": "copies of blocks: only a fork needs them",
    "9.3": "a transpose, to learn what shared memory is for",
    "9.4": "a sum, to learn how threads work together",
    "9.5": "a softmax of rows, to write a kernel and its launcher: the engine's are inside attention and sampling",
    "10.2": "copies of blocks: only a fork needs them",
    "10.4": "the guide's tree, which knows requests; the engine's tree knows pages",
    "10.6": "a penalty: only a request that asks for one has it computed",
    "10.10": "a transpose, to learn what shared memory is for",
    "10.18": "a sum, to learn how threads work together",
    "10.24": "a sum, to learn how threads work together",
    "14.2": "a small product, to learn how matrices lie in registers",
    "16.1": "a search for prefixes on the device: the engine keeps its tree on the host",
    "20.3": "a choice between engines: one engine has none",
}
ON_A_GPU_ONLY = {"17.3", "17.4"}  # CUDA graphs
HOPPER = 15  # the lesson whose rungs take heads of 64 or 128 columns alone; the tiny model's have 32
IN_FLOAT32 = {"12.4"}  # loads into registers: 16 bits are copied into shared memory instead


def tells(exercise):
    """The engine's own function with a line more, which tells that it was called."""
    source = exercise.language.reference(exercise)
    if exercise.language is PYTHON:
        body = ast.parse(source).body[0].body
        first = body[1] if ast.get_docstring(ast.parse(source).body[0]) is not None else body[0]
        lines = source.split("\n")
        lines.insert(first.lineno - 1, " " * first.col_offset + f'CALLED.add("{exercise.id}")')
        return "\n".join(lines)
    body = cuda.cuda_text.find(source, exercise.function).body
    tell = f'static bool told = false; if (!told) {{ told = true; printf("CALLED {exercise.id}\\n"); }}'
    return f"{source[:body]} {tell}{source[body:]}"


def write(folder, chosen):
    for file in {exercise.file.name: exercise.file for exercise in chosen}.values():
        bodies = {exercise.id: tells(exercise) for exercise in chosen if exercise.file.name == file.name}
        text = file.language.render(file, bodies)
        (folder / file.name).write_text(text + ("\nCALLED = set()\n" if file.language is PYTHON else ""))


@contextmanager
def learners(name, chosen, dtypes=()):
    """These exercises are written in the learner's files and have passed. Kernels with a function of theirs are
    compiled for these types and for heads of at most 64 columns: what the engines here ask for is a fifth of the work.
    """
    folder, load = same_folder(f"served-{name}"), launching.load
    flags = (f"-DYAIE_DTYPES={sum(1 << launching.DTYPES[dtype] for dtype in dtypes)}", "-DYAIE_MAX_HEAD_DIM=64")

    def quickly(file, backend, text, check, time_limit, others):
        return load(file, backend, text, check, time_limit, flags if text else others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YAIE_EXERCISES_DIR", str(folder))
        patch.setattr(parts, "passed_parts", lambda: [exercise.id for exercise in chosen])
        if dtypes:
            patch.setattr(launching, "load", quickly)
        write(folder, chosen)
        yield


def called_in_python(chosen):
    """The ids of the exercises whose functions ran in this process."""
    names = {exercise.file.lesson.name for exercise in chosen if exercise.language is PYTHON}
    return set().union(*(sys.modules[f"exercises.{name}"].CALLED for name in names))


def turns(chosen):
    """Groups of exercises that can be in the engine together."""
    groups: list[tuple] = []
    for exercise in chosen:
        rungs = {}
        for module in cuda.compiled_files(exercise.module) if exercise.language is CUDA else ():
            rungs |= cuda.fastest_rungs(module, frozenset([exercise.function]))
        fitting = (
            each
            for each in groups
            if exercise.target not in each[2] and all(each[1].get(name, rung) == rung for name, rung in rungs.items())
        )
        group, taken, targets = next(fitting, ([], {}, set()))
        if not group:
            groups.append((group, taken, targets))
        group.append(exercise)
        taken |= rungs
        targets.add(exercise.target)
    return [group for group, _, _ in groups]


def prompts(lengths):
    """Prompts that begin alike, so that there are prefixes to find and to share."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randint(5, 500, (8,), generator=generator).tolist()
    return [shared + torch.randint(5, 500, (n,), generator=generator).tolist() for n in lengths]


DRAWN = yaie.SamplingParams(temperature=0.8, top_p=0.9, top_k=20, seed=1, max_tokens=6, ignore_eos=True)
GREEDY = yaie.SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


@pytest.fixture(scope="module")
def called_on_torch():
    """The ids of the exercises that an engine called which preempts, evicts and draws, for its pool is small."""
    chosen = [exercise for exercise in EXERCISES if exercise.language is PYTHON]
    with learners("python", chosen):
        options = {"block_size": 4, "num_blocks": 16, "max_num_seqs": 3, "max_num_batched_tokens": 16}
        llm = yaie.LLM(
            "tiny", parts="exercises", backend="torch", device="cpu", policy="longest_prefix", overlap=True, **options
        )
        outputs = llm.generate(prompts((20, 3, 17, 9, 20)), [GREEDY, DRAWN, GREEDY, DRAWN, GREEDY])
        assert all(output.finish_reason == "length" for output in outputs), llm.last_error
        return called_in_python(chosen)


@pytest.fixture(scope="module")
def called_by_a_server():
    """The ids of the exercises that a server called which answers one client, while another leaves."""
    chosen = [exercise for exercise in EXERCISES if exercise.module.startswith("yaie.server.")]
    body = {"model": "tiny", "prompt": "a=1;b=2", "temperature": 2.0, "seed": 1, "max_tokens": 1000}
    with learners("server", chosen), parts.installed(parts.passed_parts()):
        with running(tiny()) as server:
            client = server.client()
            with client.completions.create(**body, stream=True, extra_body={"ignore_eos": True}) as stream:
                next(iter(stream))
            client.completions.create(**{**body, "max_tokens": 2})
            server.wait_until_idle()
        return called_in_python(chosen)


@pytest.fixture(scope="module")
def called_on_the_emulator():
    """The ids of the exercises that engines called which run kernels: a group at a time, with all of Python's."""
    python = [exercise for exercise in EXERCISES if exercise.language is PYTHON]
    called = set()
    kernels = [each for each in EXERCISES if each.language is CUDA and each.file.lesson.number != HOPPER]
    for number, group in enumerate(turns(kernels)):
        printed, dtypes = io.StringIO(), [torch.bfloat16]
        if IN_FLOAT32 & {exercise.id for exercise in group}:
            dtypes.append(torch.float32)
        with learners(f"kernels-{number}", [*python, *group], dtypes), redirect_stdout(printed):
            for dtype in dtypes:
                options = {"dtype": dtype, "num_blocks": 32, "max_num_seqs": 2}
                llm = yaie.LLM("tiny", parts="exercises", backend="emulator", **options)
                outputs = llm.generate(prompts((140, 2)), [GREEDY, DRAWN])
                assert all(output.finish_reason == "length" for output in outputs), llm.last_error
            called |= called_in_python(python)
        called |= {line.split()[1] for line in printed.getvalue().splitlines() if line.startswith("CALLED ")}
    return called


@pytest.fixture(scope="module")
def called_for_wide_heads():
    """The ids of the exercises that engines called whose model has heads of 64 columns, as rungs 5 and 6 need it: one
    layer with weights at random, so large that tokens depend on the attention. It answers as on torch."""
    torch.manual_seed(16)  # no token's lead over the next is within what bfloat16 may change
    heads = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 64}
    config = ModelConfig(512, hidden_size=64, intermediate_size=64, num_layers=1, max_position_embeddings=256, **heads)
    model = Llama(config).bfloat16()
    for weight in model.parameters():
        weight.mul_(10)
    options = {"num_blocks": 32, "max_num_seqs": 2}

    def answers(**backend):
        llm = yaie.LLM((model, config, None), **options, **backend)
        outputs = llm.generate(prompts((140, 2)), replace(GREEDY, max_tokens=3))
        assert all(output.finish_reason == "length" for output in outputs), llm.last_error
        return [output.token_ids for output in outputs]

    wanted = answers(backend="torch")
    printed = io.StringIO()
    for number, group in enumerate(turns([each for each in EXERCISES if each.file.lesson.number == HOPPER])):
        with learners(f"hopper-{number}", group, [torch.bfloat16]), redirect_stdout(printed):
            found = answers(backend="emulator", parts="exercises")
        assert found == wanted
    return {line.split()[1] for line in printed.getvalue().splitlines() if line.startswith("CALLED ")}


@pytest.fixture(scope="module")
def called_on_a_gpu():
    """The ids of the exercises in Python that an engine called which replays CUDA graphs; none without a card."""
    if not torch.cuda.is_available():
        return set()
    python = [exercise for exercise in EXERCISES if exercise.language is PYTHON]
    with learners("card", python):
        llm = yaie.LLM("tiny", parts="exercises", backend="cuda", num_blocks=32, max_num_seqs=2)
        outputs = llm.generate(prompts((20, 3)), [GREEDY, DRAWN])
        assert all(output.finish_reason == "length" for output in outputs), llm.last_error
        return called_in_python(python)


def test_solved_exercises_serve(
    called_on_torch, called_by_a_server, called_on_the_emulator, called_for_wide_heads, called_on_a_gpu
):
    """Would catch an engine that passes over a learner's function because it has a faster one of its own.

    One test for all: engines that call most of them at a time take half a minute to compile.
    """
    called = called_on_torch | called_by_a_server | called_on_the_emulator | called_for_wide_heads | called_on_a_gpu
    silent = {exercise.id for exercise in EXERCISES} - called
    assert silent == set(NOT_IN_A_STEP) | (set() if torch.cuda.is_available() else ON_A_GPU_ONLY)


def test_the_list_has_no_exercise_that_is_gone():
    """Would catch a reason for an exercise that has another number by now."""
    assert set(NOT_IN_A_STEP) | ON_A_GPU_ONLY | IN_FLOAT32 <= {exercise.id for exercise in EXERCISES}
