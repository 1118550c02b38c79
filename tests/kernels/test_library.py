"""The operations as `torch.ops.yaie`: `opcheck` and `torch.compile` accept them, with torch and with kernels."""

import pytest
import torch

import yaie.kernels.library
from yaie.kernels import rope

DEVICE, KERNELS = ("cuda", "cuda") if torch.cuda.is_available() else ("cpu", "emulator")


def rand(*shape):
    return torch.randn(shape, device=DEVICE)


def integers(values):
    return torch.tensor(values, device=DEVICE)


def arguments():
    cos, sin = rope.rope_cos_sin(torch.arange(3, device=DEVICE), rand(4).abs())
    heads = rand(3, 6, 8)[:, :4]
    caches = rand(5, 4, 2, 8), rand(5, 4, 2, 8)
    return {
        "rms_norm": (rand(3, 16), rand(16), 1e-6),
        "add_rms_norm": (rand(3, 16), rand(3, 16), rand(16), 1e-6),
        "rope": (heads, cos, sin),
        "silu_mul": (rand(3, 16),),
        "embedding": (rand(9, 8), integers([3, 0, 8])),
        "copy_blocks": (*caches, integers([[0, 3], [1, 2]])),
        "reshape_and_cache": (rand(3, 2, 8), rand(3, 2, 8), *caches, integers([7, -1, 0])),
        "gather_pages": (caches[0], integers([3, 1, 0]), 7),
        "attention_forward": (rand(2, 3, 4, 8), rand(2, 3, 2, 8), rand(2, 3, 2, 8), True, None),
        "paged_attention_forward": (rand(3, 4, 8), *caches, integers([[0, 1], [4, 2]]), integers([5, 8]), [1, 2], None),
    }


def test_every_operation_is_tested():
    """Would catch an operation that is registered and never checked."""
    assert set(yaie.kernels.library.operators) == set(arguments())


@pytest.mark.parametrize("backend", ["torch", KERNELS])
@pytest.mark.parametrize("operation", arguments())
def test_opcheck(operation, backend):
    """Would catch an argument that is written and not declared so, and a fake of another shape, dtype or stride."""
    operator = getattr(torch.ops.yaie, operation).default
    results = torch.library.opcheck(operator, (*arguments()[operation], backend))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", ["torch", KERNELS])
def test_compiled_in_one_graph(backend):
    """Would catch an operation on which `torch.compile` gives up, or a write that it moves or drops."""

    def step(x, residual, weight, projection, key_cache, value_cache, slots):
        normed = torch.ops.yaie.add_rms_norm(x, residual, weight, 1e-6, backend)
        key, value = (normed @ projection).view(-1, 2, 2, 8).unbind(1)
        torch.ops.yaie.reshape_and_cache(key, value, key_cache, value_cache, slots, backend)
        tables, lens = slots.new_zeros(1, 1), slots.new_full((1,), 3)
        return torch.ops.yaie.paged_attention_forward(
            key[:1].repeat(1, 2, 1), key_cache, value_cache, tables, lens, None, None, backend
        )

    given = rand(3, 16), rand(3, 16), rand(16), rand(16, 32), rand(2, 4, 2, 8), rand(2, 4, 2, 8)
    copies = [x.clone() for x in given]
    slots = integers([0, 1, 2])
    expected = step(*given, slots)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*copies, slots), expected)
    for ours, theirs in zip(copies, given, strict=True):
        torch.testing.assert_close(ours, theirs)
