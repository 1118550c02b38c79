"""The board that says which operation of an engine ran on what."""

import pytest
import torch

from yaie import LLM, SamplingParams
from yaie.course import parts
from yaie.course.language import engine_seam
from yaie.kernels import ops

PROMPT, GREEDY = [5, 6, 7, 8], SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)


def answered(engine, prompt=PROMPT, params=GREEDY):
    """The tokens of an answer. What went wrong in a step is raised: no tokens would not say why."""
    output = engine.generate([prompt], params)[0]
    if engine.last_error is not None:
        raise engine.last_error
    return output.token_ids


@pytest.fixture
def engine():
    return LLM("tiny", backend="emulator", num_blocks=8)


def test_every_operation_of_a_step_is_counted(engine):
    """Would catch a board that shows what could run and not what ran, or stays in the engine afterwards."""
    before, launch = engine.runner.operations, engine.runner.operations.launch
    with parts.watch_operations(engine) as ran:
        engine.generate(PROMPT, GREEDY)
    assert (engine.runner.operations, before.launch) == (before, launch)
    # 3 steps of 4 layers: two norms a layer and one at the end, and so on.
    assert ran.calls == {
        "plan_attention": 3,
        "embedding": 3,
        "rms_norm": 27,
        "rope_and_cache": 12,
        "paged_attention_forward": 12,
        "silu_mul": 12,
        "choose": 3,
    }
    assert ran.files["rope_and_cache"] == {"model_ops/rope_and_cache.cu"}
    board = str(ran.board())
    assert "6 of 6 operations that compute ran on kernels" in board
    assert "your kernel" not in board


def test_a_learners_kernel_is_said_to_be_theirs():
    """Would catch a board that goes by names and not by the text that was compiled."""
    text = (ops.CSRC / "model_ops" / "silu_mul.cu").read_text()
    mine = ops.KernelOperations("emulator", sources={"model_ops/silu_mul.cu": text + "// mine\n"})
    engine = LLM("tiny", backend=mine, num_blocks=8)
    with parts.watch_operations(engine) as ran:
        engine.generate(PROMPT, GREEDY)
    rows = [line.split() for line in str(ran.board()).splitlines() if "your kernel" in line]
    assert [row[1] for row in rows] == ["`silu_mul`"]


def test_torch_is_said_to_be_torch():
    """Would catch kernels that are claimed where torch computes."""
    engine = LLM("tiny", backend="torch", device="cpu", num_blocks=8)
    with parts.watch_operations(engine) as ran:
        output = engine.generate(PROMPT, SamplingParams(max_tokens=2, ignore_eos=True, seed=1))
    assert len(output[0].token_ids) == 2
    assert ran.calls["choose"] == 2
    assert not ran.files


def test_a_solved_cuda_exercise_serves(solved, monkeypatch):
    """Would catch `parts="exercises"` that leaves kernels out, or in, or takes the text of an earlier save."""
    expected = answered(LLM("tiny", backend="torch", device="cpu", num_blocks=8))
    for passed, yours in (("17.2", set()), ("9.2", {"memory/reshape_and_cache.cu"})):  # 17.2 calls the launcher of 9.2
        monkeypatch.setattr(parts, "passed_parts", lambda passed=passed: [passed])
        engine = LLM("tiny", backend="emulator", parts="exercises", num_blocks=8)
        with parts.watch_operations(engine) as ran:
            assert answered(engine) == expected
        assert "memory/reshape_and_cache.cu" in ran.files["rope_and_cache"]
        assert ran.yours == yours
        assert not engine_seam.sources()
    path = solved / "09_memory_operations.cu"
    right, wrong = "= value[token * units_per_token + i]", "= key[token * units_per_token + i]"
    assert path.read_text().count(right) == 1
    path.write_text(path.read_text().replace(right, wrong))
    engine = LLM("tiny", backend="emulator", parts="exercises", num_blocks=8)
    assert answered(engine) != expected


def test_a_solved_part_of_a_slower_rung_serves(solved, monkeypatch):
    """Would catch an engine that passes over the learner's kernel, because it has a faster one of its own."""
    monkeypatch.setattr(parts, "passed_parts", lambda: ["16.3"])
    drawn = SamplingParams(top_p=0.9, top_k=20, seed=1, max_tokens=3, ignore_eos=True)
    outputs = []
    for chosen, rung in ((None, "sampling/sample_3_list.cu"), ("exercises", "sampling/sample_2_radix.cu")):
        engine = LLM("tiny", backend="emulator", parts=chosen, num_blocks=8)
        with parts.watch_operations(engine) as ran:
            outputs.append(answered(engine, params=drawn))
        assert ran.files["choose"] == {rung}
        assert ran.yours == ({rung} if chosen else set())
    assert outputs[0] == outputs[1]


def test_solved_parts_of_flash_attention_serve_by_the_fastest_rung(solved, monkeypatch):
    """Would catch an engine that takes a slower rung than it has to: 13.1 is part of rung 2, 13.3 of rung 3."""
    monkeypatch.setattr(parts, "passed_parts", lambda: ["13.1", "13.3"])
    tokens = []
    for chosen in (None, "exercises"):
        engine = LLM("tiny", backend="emulator", dtype=torch.bfloat16, parts=chosen, num_blocks=8)
        with parts.watch_operations(engine) as ran:
            tokens.append(answered(engine, list(range(5, 45))))
    assert "flash_attention/flash_attention_3_registers.cu" in ran.files["paged_attention_forward"] & ran.yours
    assert tokens[0] == tokens[1]
