"""The operations as `torch.ops.yaie`: `opcheck` and `torch.compile` accept them, with torch and with kernels."""

import pytest
import torch

import yaie.kernels.library
from yaie.kernels import api, radix_ops, rope
from yaie.kernels.radix_tree import RadixTree

DEVICE, KERNELS = ("cuda", "cuda") if torch.cuda.is_available() else ("cpu", "emulator")


def rand(*shape):
    return torch.randn(shape, device=DEVICE)


def integers(values):
    return torch.tensor(values, device=DEVICE)


def arguments():
    cos, sin = rope.rope_cos_sin(torch.arange(3, device=DEVICE), rand(4).abs())
    heads = rand(3, 6, 8)[:, :4]
    caches = rand(5, 4, 2, 8), rand(5, 4, 2, 8)
    column = torch.ones(3, device=DEVICE)
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
        "match_prefixes": (*tree(), integers([[1, 2, 3], [4, 0, 0]]), integers([3, 1])),
        "choose_victims": (integers([0, 2, 1]), integers([0, 3, 2]), integers([0, 1, 1]) > 0, 4),
        "sample": (rand(3, 16), column, column * 0.9, integers([-1, 5, 1]), column * 0, *seeds_and_steps()),
    }


def tree():
    """The arrays of a tree of two prompts, and its page size."""
    prompts = RadixTree()
    prompts.insert_request("a", [1, 2, 3])
    prompts.insert_request("b", [1, 2, 4])
    flat, _ = radix_ops.flatten(prompts.root)
    return flat.to(DEVICE)


def seeds_and_steps():
    return integers([7, 8, 9]), integers([0, 1, 2])


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


@pytest.mark.parametrize("backend", ["torch", KERNELS])
def test_radix_operations_and_sampling_compiled(backend):
    """Would catch arguments that change places on their way to `api`, and a size that is fixed while tracing."""

    def evict(last_used, sizes, evictable):
        victims = torch.ops.yaie.choose_victims(last_used, sizes, evictable, 4, backend)
        return victims, sizes[victims].sum()

    ages = integers([0, 2, 1]), integers([0, 3, 2])
    compiled = torch.compile(evict, fullgraph=True, backend="aot_eager")
    for evictable, expected, freed in (([0, 1, 1], [2, 1], 5), ([0, 0, 1], [2], 2), ([0, 0, 0], [], 0)):
        victims, total = compiled(*ages, integers(evictable) > 0)
        assert (victims.tolist(), total.item()) == (expected, freed)

    rows, lengths = integers([[1, 2, 4], [1, 0, 0], [5, 1, 2]]), integers([3, 1, 3])
    expected = api.match_prefixes(radix_ops.FlatTree(*tree()), rows, lengths, backend=backend)
    for got, part in zip(torch.ops.yaie.match_prefixes(*tree(), rows, lengths, backend), expected, strict=True):
        assert got.tolist() == part.tolist()
    assert expected.lengths.tolist() == [3, 1, 0]

    def per_row(*values):
        return torch.tensor(values, device=DEVICE).repeat(8)

    logits = torch.linspace(0, 3, 16, device=DEVICE).repeat(32, 1)
    settings = per_row(2.0, 0.7, 1.0, 1.5), per_row(1.0, 0.6, 0.9, 1.0), per_row(-1, 9, 3, -1)
    min_p, seeds, steps = per_row(0.0, 0.1, 0.0, 0.4), torch.arange(32, device=DEVICE), per_row(0, 1, 2, 3)
    wanted = api.sample(logits, *settings, min_p=min_p, seeds=seeds.tolist(), steps=steps.tolist())
    got = torch.ops.yaie.sample(logits, *settings, min_p, seeds, steps, backend)
    assert got.tolist() == wanted.tolist()
