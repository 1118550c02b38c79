"""What strangers hand to the public functions of `yaie.kernels`: right, or refused by name with nothing changed.

Each public function has a row in `rows`: a call that is right, and for each argument the kind of thing that it is. A
kind has many wrong values (`KINDS`, and `more` of a row's own). Every one of them must raise an error that our own code
raises (not torch, not numpy), that names the argument, and after which nothing has changed, to the last bit.

The kind "believed": something that is no valid argument is taken, and the result means nothing. Brothers, each found
by calling and fixed in `kernels/checks.py` or with its words:

- integer tensors and tensors of two dtypes for attention; integers for norms, gates, rotation
- NaN, infinite and 10**400 for scale and eps, a negative eps; numbers that are finite and not in float32 (1e39)
- bool for an integer, a float for an integer (`layer=0.0`), "no" for a flag, a string for a sequence of lengths
- slots named twice; caches that overlap, or that are what is read; an expanded tensor that is written
- token ids [0.5] cut to [0]; rungs 2.0 and True; seeds 0.5; an additive mask (0 at what is seen) for a mask
- all tensors on "meta": a result without numbers
- a flat tree whose arrays point outside of themselves or in a circle
- negative ticks and sizes for victims; sizes that overflow their sum; frequencies of NaN, theta of 0 or below
- `available_backends("name")`, which is an attribute and no operation
- keys and values whose last dimension has gaps: PyTorch's flash kernel for the CPU read them as if it had none
- min_p 1 on a GPU: -log(1) is -0, whose bits say "keep everything"

The kind "half-changed": an error after a part of the work. `kv.write(layer=0.0)` and keys on another device after the
copy on write; keys stored and then values of another dtype; a value cache that autograd does not let change.

The kind "ends the process": caches, queries, keys behind an odd offset, which kernels read 16 bytes at a time.

The kind "unclear": AttributeError, TypeError, IndexError or OverflowError from inside numpy or torch for None, strings,
lists, arrays, scalars of numpy (which are right where an integer or a number is), huge integers.

Not in here: functions that a step of the engine calls (`attention`, `paged`, `model_ops`, the steps of `sampling`).
They do not check, so nothing is checked twice.
"""

import copy
import math
import re
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

import yaie.kernels
from yaie.kernels import api, ops, radix_ops, rope
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.radix_attention import RadixAttentionBlock
from yaie.kernels.radix_tree import RadixTree
from yaie.kernels.sampling import SamplingKernel

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
BACKENDS = ["torch", "cuda" if ON_GPU else "emulator"]
PACKAGE = str(Path(yaie.kernels.__file__).parent)
NAN, HUGE = math.nan, (2**63, 10**400)


def rand(*shape):
    """Numbers where new tensors are: on the CPU, but within `with torch.device(...)`."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), device="cpu")
    return numbers.to(torch.get_default_device())


def no_tensor(x):
    return [None, "x", 7, x.tolist(), x.numpy(), object(), x.to("meta"), x.to_sparse()]


def floats(x):
    """Wrong for a tensor of floating numbers."""
    wrong = [x.long(), x.int(), x.bool(), x.to(torch.complex64), x.to(torch.float8_e5m2)]
    return no_tensor(x) + wrong + [x[..., None, None, None], x.sum()]


def floats_of_a_dtype(x):
    return [*floats(x), x.half(), x.double()]


def ids(x):
    """Wrong for a tensor of integers."""
    return [*no_tensor(x), x.float(), x > 0, x.short(), x.to(torch.uint8), x[..., None], x - 100, x + 10**9]


def anything(x):
    """Wrong for a tensor of any dtype."""
    return [*no_tensor(x), x[..., None, None], x.sum()]


def integer(_):
    return [None, "3", 1.0, NAN, math.inf, True, np.True_, np.float64(1), [1], torch.tensor(1), 1j, -1, *HUGE]


def positive(_):
    return [*integer(_), 0]


def number(_):
    return ["1", True, NAN, math.inf, -math.inf, 1e39, *HUGE[1:], [1.0], torch.tensor(1.0), 1j, np.float32("nan"), b"1"]


def above_zero(_):
    return [*number(_), None, 0, -1.0]


def flag(_):
    return [None, 0, 1, "no", 1.0, [], torch.tensor(True)]


def lengths(x):
    n = len(x)
    wrong = [5, "1" * n, b"1" * n, [1.0] * n, [True] * n, [None] * n, ["1"] * n, [1] * (n + 1), [1] * (n - 1), [-1] * n]
    wrong += [[value] * n for value in HUGE] + [[[1]] * n, torch.ones(n), torch.ones(n, 1, dtype=torch.int64)]
    return [*wrong, torch.ones(n, dtype=torch.int64, device="meta"), torch.ones(n).bool(), np.ones(n), iter([NAN] * n)]


def needed(kind):
    return lambda x: [*kind(x), None]


def backend(_):
    return [None, "cude", "", 5, object(), ["torch"]]


def per_row(_):
    wrong = [
        "1",
        None,
        True,
        NAN,
        math.inf,
        -math.inf,
        1e39,
        *HUGE[1:],
        1j,
        [1, NAN],
        [1, None],
        [1],
        [1, 1, 1],
        [1, True],
    ]
    return [*wrong, [[1], [1]], torch.tensor([1, NAN]), torch.ones(2, device="meta"), np.ones(3), {1: 1}]


def per_row_from_zero(x):
    return [*per_row(x), -3]


def request(_):
    return [None, 5, 1.0, ["a"], {}, b"a", "", NAN, torch.tensor(1)]


def blocks(_):
    wrong = [None, 0, "0", [0.0], [True], [None], ["0"], [-1], [99], [2**63], [[0]], [NAN], torch.zeros(1), np.zeros(1)]
    return [*wrong, torch.zeros(1, dtype=torch.int64, device="meta"), torch.zeros((), dtype=torch.int64)]


def token_list(_):
    wrong = [None, 5, "abc", b"abc", [1.0], [True], [None], ["1"], [[1], [2]], [[1], [2, 3]], [NAN], [2**63], [10**400]]
    return [*wrong, torch.ones(2), torch.ones(2, device="meta"), torch.ones(1, 2).long(), {1}, object(), iter([1])]


# --- the rows: function, right arguments, what kind of thing each argument is, more that is wrong ------------------


def attention_row():
    good = {"query": rand(2, 3, 4, 8), "key": rand(2, 3, 2, 8), "value": rand(2, 3, 2, 8) + 1, "causal": True}
    good |= {"seq_lens": [2, 3], "scale": 0.5, "backend": "torch"}
    kinds = dict.fromkeys(("key", "value"), floats_of_a_dtype) | {"query": floats, "causal": flag}
    return api.attention_forward, good, kinds | {"seq_lens": lengths, "scale": number, "backend": backend}, {}


def pages():
    return {"key_cache": rand(3, 4, 2, 8), "value_cache": rand(3, 4, 2, 8) + 1}


def paged_row():
    good = {"query": rand(3, 4, 8), **pages(), "block_tables": torch.tensor([[0, 1], [2, 0]]), "context_lens": [5, 3]}
    good |= {"query_lens": [2, 1], "scale": 0.5, "backend": "torch"}
    kinds = {"query": floats, "key_cache": floats_of_a_dtype, "value_cache": floats_of_a_dtype, "block_tables": ids}
    kinds |= {"context_lens": needed(lengths), "query_lens": lengths, "scale": number, "backend": backend}
    cache = good["key_cache"]
    wrong = [cache.transpose(1, 2), cache[:, ::2], cache[:1].expand(3, 4, 2, 8), cache[:2], cache[:, :, :1]]
    more = {"key_cache": wrong, "value_cache": wrong, "context_lens": [[9, 3], [1, 3], [5, -1]]}
    kernels = ops.KernelOperations(BACKENDS[1]).plan_attention(good["block_tables"], [5, 3], [2, 1], cache)
    more |= {"plan": ["plan", 5, {}, kernels], "query": [rand(2, 4, 8), rand(3, 3, 8), rand(3, 4, 16)]}
    return api.paged_attention_forward, good, kinds, more


def plan_row():
    good = {"block_tables": torch.tensor([[0, 1], [2, 0]]), "context_lens": [5, 3], "query_lens": [2, 1]}
    good |= {"key_cache": rand(3, 4, 2, 8), "backend": "torch"}
    kinds = {"block_tables": ids, "context_lens": needed(lengths), "query_lens": lengths, "key_cache": floats}
    return api.plan_attention, good, kinds | {"backend": backend}, {}


def written(x):
    """Wrong for a contiguous tensor that is changed in place."""
    with torch.inference_mode():
        frozen = x.clone()
    expanded = x[:1].expand_as(x)
    return [frozen, x.clone().requires_grad_(), expanded, x.transpose(-1, -2).contiguous().transpose(-1, -2)]


def copy_row():
    good = {**pages(), "block_mapping": torch.tensor([[0, 1]]), "backend": "torch"}
    cache = good["key_cache"]
    more = {name: [*written(good[name]), cache[:2], cache.half()] for name in ("key_cache", "value_cache")}
    more["value_cache"] += [cache]
    more["key_cache"] += [good["value_cache"]]
    more["block_mapping"] = [
        torch.tensor(x) for x in ([[0, 1], [2, 1]], [[0, 1], [1, 2]], [[0, 3]], [[-1, 0]], [[0, 0]])
    ]
    kinds = {"key_cache": anything, "value_cache": anything, "block_mapping": ids, "backend": backend}
    return api.copy_blocks, good, kinds, more


def store_row():
    good = {"key": rand(3, 2, 8), "value": rand(3, 2, 8) + 1, **pages(), "slot_mapping": torch.tensor([5, -1, 0])}
    good["backend"] = "torch"
    kinds = dict.fromkeys(("key", "value", "key_cache", "value_cache"), anything)
    more = {name: written(good[name]) for name in ("key_cache", "value_cache")}
    more["value_cache"] += [good["key_cache"]]
    more |= {
        "value": [good["value"].half(), good["value_cache"][0, :3]],
        "key": [good["key_cache"][0, :3], rand(2, 2, 8)],
    }
    more["slot_mapping"] = [torch.tensor(x) for x in ([5, 5, 0], [5, -2, 0], [5, 12, 0], [5, 2**62, 0])]
    return api.reshape_and_cache, good, kinds | {"slot_mapping": ids, "backend": backend}, more


def gather_row():
    good = {"cache": rand(3, 4, 2, 8), "block_table": torch.tensor([2, 0]), "context_len": 5, "backend": "torch"}
    kinds = {"cache": anything, "block_table": ids, "context_len": integer, "backend": backend}
    return api.gather_pages, good, kinds, {"context_len": [9], "cache": [good["cache"].transpose(0, 1)]}


def norm_row():
    good = {"x": rand(3, 8), "weight": rand(8), "eps": 1e-6, "residual": rand(3, 8) + 1, "backend": "torch"}
    kinds = {
        "x": floats_of_a_dtype,
        "weight": floats_of_a_dtype,
        "residual": lambda x: floats_of_a_dtype(x)[1:],
        "eps": number,
    }
    more = {"eps": [None, -1e-9], "weight": [rand(7), rand(1)], "residual": [*written(good["residual"]), rand(1, 8)]}
    more["residual"] += [good["x"], good["weight"].expand(3, 8)]
    return api.rms_norm, good, kinds | {"backend": backend}, more


def rope_row():
    cos, sin = rope.rope_cos_sin(torch.arange(3), rope.rope_inv_freq(8))
    good = {"x": rand(3, 2, 8), "cos": cos, "sin": sin, "backend": "torch"}
    kinds = {"x": floats, "cos": floats_of_a_dtype, "sin": floats_of_a_dtype, "backend": backend}
    more = {
        "x": [*written(good["x"]), rand(3, 2, 7), rand(2, 2, 8), rand(3, 2, 16)],
        "cos": [cos[:1], cos.expand(3, 2, 4)],
    }
    return api.rope, good, kinds, more


def tree():
    prompts = RadixTree()
    for name, tokens in {"a": [1, 2, 3], "b": [1, 2, 4], "c": [7]}.items():
        prompts.insert_request(name, tokens)
    return radix_ops.flatten(prompts.root)[0].to(torch.get_default_device())


def match_row():
    flat = tree()
    good = {"tree": flat, "tokens": torch.tensor([[1, 2, 4], [7, 0, 0]]), "lengths": [3, 1], "backend": "torch"}
    broken = [flat._replace(page_size=value) for value in (0, -1, 2, 1.0, True, None)]
    for name in ("edges", "starts", "children"):
        part = getattr(flat, name)
        values = [*no_tensor(part), part.int(), part.float(), part[None], part[:-1]]
        broken += [flat._replace(**{name: value}) for value in values]
    broken += [flat._replace(starts=flat.starts.flip(0)), flat._replace(children=flat.children.flip(0))]
    broken += [flat._replace(starts=flat.starts + 1), flat._replace(children=flat.children * 2)]
    broken += [flat._replace(children=torch.zeros_like(flat.children)), flat._replace(edges=flat.edges.repeat(2))]
    kinds = {"tree": lambda _: [None, 5, "tree", RadixTree(), tuple(flat)], "lengths": needed(lengths)}
    more = {"tree": broken, "lengths": [[4, 1]]}
    return api.match_prefixes, good, kinds | {"tokens": lambda x: ids(x)[:-2], "backend": backend}, more


def victims_row():
    good = {"last_used": torch.tensor([0, 2, 1]), "sizes": torch.tensor([0, 3, 2]), "num_tokens": 4, "backend": "torch"}
    good["evictable"] = torch.tensor([False, True, True])
    kinds = {"last_used": lambda x: ids(x)[:-1], "sizes": lambda x: ids(x)[:-1], "num_tokens": integer}
    kinds["evictable"] = lambda x: [*no_tensor(x), x.long(), x.float(), x[:2], x[None]]
    more = {"sizes": [torch.full((3,), 2**62), torch.tensor([1, 2])], "last_used": [good["last_used"].int()]}
    return api.choose_victims, good, kinds | {"backend": backend}, more


def sample_row(function=api.sample):
    good = {"logits": rand(2, 5), "temperature": 0.7, "top_p": 0.9, "top_k": 3, "min_p": 0.1}
    good |= {
        "repetition_penalty": 1.2,
        "presence_penalty": 0.5,
        "prompt_tokens": [[0], []],
        "output_tokens": [[1], [4, 4]],
    }
    good["generator"] = [torch.Generator().manual_seed(s) for s in range(2)]
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    kinds = dict.fromkeys(names, per_row_from_zero) | {"logits": floats, "presence_penalty": per_row}
    more = {
        "top_p": [0, 0.0, 1.1, [0.5, 0]],
        "top_k": [0, -2, 1.0, 2**31, [1, 2.0], torch.ones(2)],
        "min_p": [1.01, -0.01],
    }
    more |= {"repetition_penalty": [0, 0.0, 1e-39, 1e39, -1.0], "logits": [rand(2, 0), torch.full((2, 5), NAN)]}
    infinite = torch.zeros(2, 5)
    infinite[1, 2] = math.inf
    more["logits"] += [infinite, torch.full((2, 5), -math.inf)]
    wrong = [[[0.5], []], [["1"], []], [[5], []], [[-1], []], [[1]], 5, "ab", [[True], []], [None, []], [[2**63], []]]
    wrong += [torch.zeros(2, 4).bool(), torch.zeros(2, 5), torch.zeros(2, 5, device="meta").bool(), {}]
    more |= {"prompt_tokens": wrong, "output_tokens": wrong}
    more["generator"] = [5, "ab", [None], [None, 5], {}, object(), [torch.Generator] * 2]
    if function is api.sample:
        good["backend"], kinds["backend"] = "torch", backend
    return function, good, kinds, more


def seeds_row():
    good = {"logits": rand(2, 5), "seeds": [1, 2], "steps": [0, 2**63 - 1], "backend": "torch"}
    return api.sample, good, {"seeds": needed(lengths), "steps": needed(lengths)}, {}


def probabilities_row():
    function, good, kinds, more = sample_row(SamplingKernel().probabilities)
    return function, *({k: v for k, v in part.items() if k != "generator"} for part in (good, kinds, more))


def block_row():
    good = {"hidden_size": 16, "num_heads": 4, "head_dim": 4, "num_kv_heads": 2, "inv_freq": rope.rope_inv_freq(4)}
    kinds = {"hidden_size": positive, "num_heads": positive, "num_kv_heads": lambda _: positive(_)[1:]}
    kinds["max_position_embeddings"] = positive
    more = {
        "num_kv_heads": [3],
        "inv_freq": [torch.ones(3), torch.tensor([1, NAN]), [1.0, 0.1], torch.ones(2, device="meta")],
    }
    return RadixAttentionBlock, good, kinds | {"head_dim": positive}, more | {"head_dim": [3]}


def block_forward_row():
    torch.manual_seed(0)
    block = RadixAttentionBlock(16, 4, 4, num_kv_heads=2)
    past = rand(2, 3, 2, 4), rand(2, 3, 2, 4)
    good = {
        "hidden_states": rand(2, 5, 16),
        "position_ids": torch.arange(3, 8),
        "past_key_value": past,
        "use_cache": True,
    }
    kinds = {
        "hidden_states": floats,
        "position_ids": lambda x: [v for v in ids(x)[:-2] if v is not None],
        "use_cache": flag,
    }
    wrong = [5, "ab", past[:1], (past[0], None), (past[0], past[1][:, :2]), (past[0].long(), past[1]), torch.ones(2)]
    mask = torch.ones(2, 8)
    more = {"past_key_value": [*wrong, (past[0].to("meta"), past[1])], "hidden_states": [rand(2, 5, 15), rand(5, 16)]}
    more |= {"attention_mask": [5, "x", mask.tolist(), mask, mask[:, :5].long(), mask.long().to("meta")]}
    more |= {
        "position_ids": [torch.arange(4), torch.ones(2, 5)],
        "seq_lens": [v for v in lengths([5, 5]) if v is not None],
    }
    return block.forward, good, kinds, more


def inv_freq_row():
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 8192
    good = {"head_dim": 8, "theta": 10000.0, "scaling": scaling}
    changed = [{**scaling, name: value} for name in list(scaling)[1:] for value in above_zero(0)]
    changed += [{**scaling, "low_freq_factor": 4.0}, {**scaling, "low_freq_factor": 5.0}, {**scaling, 5: 1}]
    changed += [{**scaling, "rope_type": value} for value in (None, [], 5, "yarn")]
    return (
        rope.rope_inv_freq,
        good,
        {"head_dim": positive, "theta": above_zero},
        {"scaling": [*changed, 5, "x", ["factor"]]},
    )


def pool_row():
    good = {"num_blocks": 4, "block_size": 2, "num_heads": 2, "head_dim": 4, "dtype": torch.float32, "num_layers": 2}
    kinds = dict.fromkeys(("num_blocks", "block_size", "num_heads", "head_dim", "num_layers"), positive)
    more = {
        "dtype": [None, "float16", torch.int32, torch.bool, torch.complex64, float, 5],
        "num_blocks": [2**40, 2**62],
    }
    return (
        KVCacheManager,
        good,
        kinds,
        more | {"device": ["cude", "", 1.5, [], object(), *([] if ON_GPU else ["cuda"])]},
    )


def manager():
    kv = KVCacheManager(6, 4, 2, 8, torch.float32, 2)
    kv.allocate_blocks("a", 6)
    kv.write("a", rand(6, 2, 8), rand(6, 2, 8) + 1)
    kv.fork("a", "b")
    kv.retain([0])
    return kv


def manager_rows():
    keys, values = rand(2, 2, 8), rand(2, 2, 8) + 1
    tensors = {"keys": keys, "values": values}
    wrong = {name: [*floats(x), x[:0], x[:, :1], x[:1], x[..., :4]] for name, x in tensors.items()}
    positions = [*integer(0)[1:], 7]
    yield (
        "allocate_blocks",
        {"request_id": "c", "num_tokens": 5, "prefix_blocks": [0]},
        {
            "request_id": [*request(0), "a"],
            "num_tokens": positive(0)[:-3],
            "prefix_blocks": [*blocks(0), [0, 0], [4], [0, 1], iter([NAN])],
        },
    )
    yield (
        "append_tokens",
        {"request_id": "a", "num_tokens": 1},
        {"request_id": request(0), "num_tokens": positive(0)[:-3]},
    )
    yield "fork", {"parent_id": "a", "child_id": "c"}, {"parent_id": request(0), "child_id": [*request(0), "b"]}
    yield (
        "copy_on_write",
        {"request_id": "a", "block_index": 1},
        {"request_id": request(0), "block_index": [*integer(0), 2, -2]},
    )
    yield "free_blocks", {"request_id": "a"}, {"request_id": [*request(0), "c"]}
    yield (
        "slot_mapping",
        {"request_id": "a", "start": 1, "end": 2},
        {"request_id": request(0), "start": [None, *positions], "end": positions},
    )
    yield (
        "write",
        {"request_id": "a", **tensors, "start": 1, "layer": 1},
        {"request_id": request(0), **wrong, "start": [*integer(0), 5], "layer": [*integer(0), 0.0, 2]},
    )
    yield (
        "read",
        {"request_id": "a", "start": 1, "end": 2, "layer": 1},
        {"request_id": request(0), "start": [None, *positions], "end": positions, "layer": [*integer(0), 0.0, 2]},
    )
    yield "retain", {"block_ids": [0, 1]}, {"block_ids": [*blocks(0), [4]]}
    yield "release", {"block_ids": [0]}, {"block_ids": [*blocks(0), [1], [0, 0]]}
    yield (
        "replace_prefix",
        {"request_id": "b", "prefix_blocks": [0]},
        {"request_id": request(0), "prefix_blocks": [*blocks(0), [1], [4], [0, 1]]},
    )


def radix_rows():
    yield (
        "insert_request",
        {"request_id": "d", "token_ids": [1, 2]},
        {"request_id": request(0), "token_ids": token_list(0)},
    )
    yield "insert_request", {"request_id": "a", "token_ids": [1, 2]}, {"token_ids": token_list(0)}
    yield "remove_request", {"request_id": "a"}, {"request_id": [*request(0), "z"]}
    yield "find_shared_prefixes", {"token_ids": [1, 2]}, {"token_ids": token_list(0)}


def prompts():
    return_value = RadixTree()
    for name, tokens in {"a": [1, 2, 3], "b": [1, 2, 4]}.items():
        return_value.insert_request(name, tokens)
    return return_value


def other_row(function, **wrong):
    return function, {name: values[0] for name, values in wrong.items()}, {}, {n: v[1:] for n, v in wrong.items()}


def rows():
    """Name, the object that the function may change, the function, right arguments, and wrong values by argument."""
    made = {
        "attention_forward": attention_row(),
        "paged_attention_forward": paged_row(),
        "plan_attention": plan_row(),
        "copy_blocks": copy_row(),
        "reshape_and_cache": store_row(),
        "gather_pages": gather_row(),
        "rms_norm": norm_row(),
        "rope": rope_row(),
        "silu_mul": (api.silu_mul, {"gate_up": rand(3, 8), "backend": "torch"}, {"backend": backend}, {}),
        "embedding": other_row(
            api.embedding, table=[rand(5, 8)], token_ids=[torch.tensor([4, 0, 4])], backend=["torch"]
        ),
        "match_prefixes": match_row(),
        "choose_victims": victims_row(),
        "sample": sample_row(),
        "sample by seeds": seeds_row(),
        "SamplingKernel.sample": sample_row(SamplingKernel().sample),
        "SamplingKernel.probabilities": probabilities_row(),
        "RadixAttentionBlock": block_row(),
        "RadixAttentionBlock.forward": block_forward_row(),
        "rope_inv_freq": inv_freq_row(),
        "KVCacheManager": pool_row(),
        "flatten": other_row(
            radix_ops.flatten, root=[prompts().root, None, 5, "x", prompts()], page_size=[1, *positive(0)]
        ),
        "available_backends": other_row(
            api.available_backends, operation=["rope", "name", "rungs", "RUNGS", "__init__", "ropes", "", None, 5, []]
        ),
        "operations": other_row(ops.operations, backend=["torch", "auto", *backend(0)]),
        "TorchOperations": other_row(
            ops.TorchOperations,
            rungs=[{"rope": 1}, {"rope": 2.0}, {"rope": True}, {"rope": []}, {"rope": None}, {"rope": 3}, {"rop": 1}],
        ),
        "KernelOperations": other_row(ops.KernelOperations, backend=[BACKENDS[1], "torch", *backend(0)]),
    }
    table, token_ids = rand(5, 8), torch.tensor([4, 0, 4])
    made["embedding"][3].update(table=[*anything(table), table.T], token_ids=ids(token_ids), backend=backend(0))
    made["silu_mul"][3].update(gate_up=[v for v in floats(rand(3, 8)) if getattr(v, "ndim", 0) < 5] + [rand(3, 7)])
    for name, (function, good, kinds, more) in made.items():
        wrong = {argument: list(kind(good.get(argument))) for argument, kind in kinds.items()}
        for argument, values in more.items():
            wrong[argument] = wrong.get(argument, []) + values
        yield name, None, function, good, wrong
    for make, each in ((manager, manager_rows()), (prompts, radix_rows())):
        for name, good, wrong in each:
            yield f"{make.__name__}.{name}", make, name, good, wrong


# --- refused by name, and nothing has changed ---------------------------------------------------------------------

# Where an error names a thing by what it is for.
ALSO = {
    "context_lens": "sequence ",
    "query_lens": "sequence |query has|query_lens",
    "query": "query|num_kv_heads=",
    "block_tables": "block table",
    "block_table": "block table",
    "context_len": "context_len",
    "slot_mapping": "slots",
    "block_mapping": "pair|block",
    "key_cache": "caches|num_kv_heads|in place|block",
    "value_cache": "caches|in place",
    "cache": "sequence",
    "token_ids": "token ids",
    "logits": "row 0|row 1",
    "request_id": "request ",
    "parent_id": "request ",
    "child_id": "request ",
    "start": "positions",
    "end": "positions",
    "prefix_blocks": "block",
    "block_ids": "block",
    "key": "num_kv_heads",
    "tree": "edges|starts|children",
    "rungs": "rung",
    "num_blocks": "pool",
    "scaling": "rope_type|factor|original_max|low_freq",
    "x": "cos must|weight must",
}


def dump(x):
    """All that can be seen of an argument, to compare it with later."""
    if isinstance(x, torch.Tensor):
        return x.dtype, x.shape, x.detach().contiguous().numpy().tobytes()
    if isinstance(x, torch.Generator):
        return x.get_state().tolist()
    if isinstance(x, list | tuple):
        return [dump(each) for each in x]
    if isinstance(x, dict):
        return {name: dump(each) for name, each in x.items()}
    if isinstance(x, KVCacheManager):
        return dump(vars(x) | {"blocks": None})
    if isinstance(x, RadixTree):
        return repr(x.get_shared_computation_graph())
    return repr(x)


def complaint(owner, function, good, argument, value):
    """What is wrong with the way in which a value is refused; None if nothing is."""
    before = dump([owner, good])
    try:
        function(**{**good, argument: value})
    except (ValueError, TypeError, KeyError, IndexError) as error:
        said, where = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
        names = [argument, *ALSO.get(argument, argument).split("|")]
        if not where.startswith(PACKAGE):
            return f"is refused by {where}: {said}"
        if not any(name in said for name in names):
            return f"is refused without the name: {said}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    else:
        return "is believed"
    return None if dump([owner, good]) == before else "has changed something"


def shown(value):
    return " ".join(repr(value).split())[:80]


@pytest.mark.parametrize(("make", "function", "good", "wrong"), [pytest.param(*row[1:], id=row[0]) for row in rows()])
def test_bad_input_is_refused_by_name(make, function, good, wrong):
    """Catches what the list above names."""

    def target():
        owner = make and make()
        return owner, getattr(owner, function) if make else function

    target()[1](**good)  # right as it is
    complaints = [
        f"{argument}={shown(value)} {said}"
        for argument, values in wrong.items()
        for value in values
        if (said := complaint(*target(), good, argument, value))
    ]
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_public_function_has_a_row():
    """Catches a function that is added and never tried with what strangers hand in."""
    names = {row[0] for row in rows()}
    offered = {name for name, value in vars(api).items() if callable(value) and name[0].islower()}
    methods = {f"{make.__name__}.{name}" for make in (manager, prompts) for name in dir(make()) if name[0] != "_"}
    owners = {"manager": manager(), "prompts": prompts()}
    called = {m for m in methods if callable(getattr(owners[m.split(".")[0]], m.split(".")[1]))}
    without_arguments = {"manager.check_integrity", "prompts.get_shared_computation_graph"}
    arithmetic = {"manager.blocks_needed"}  # a quotient
    assert offered | called - without_arguments - arithmetic <= names


# --- right, though unusual ----------------------------------------------------------------------------------------


def as_numpy(value):
    """The same in numpy's types; tensors stay."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    if isinstance(value, float):
        return np.float64(value)
    return [as_numpy(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("make", "function", "good"), [pytest.param(*row[1:4], id=row[0]) for row in rows()])
def test_numbers_of_numpy_are_numbers(make, function, good):
    """Catches `isinstance(value, int)`: lengths, ids and settings often come from numpy."""

    def result(arguments):
        owner = make and make()
        with torch.inference_mode():
            out = (getattr(owner, function) if make else function)(**copy.deepcopy(arguments))
        return dump([owner, out if isinstance(out, torch.Tensor | list | tuple | int) else None])

    assert result({name: as_numpy(value) for name, value in good.items()}) == result(good)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda values: np.array(values, dtype=np.int32)])
def test_lengths_in_any_sequence(kind):
    """Catches lengths that must be a list."""
    _, good, _, _ = paged_row()
    expected = api.paged_attention_forward(**good)
    again = {name: kind(good[name]) for name in ("context_lens", "query_lens")}
    assert torch.equal(api.paged_attention_forward(**{**good, **again}), expected)


def empty_calls():
    """Each operation without tokens, sequences or rows: what must come out, and the call."""
    caches, nothing = tuple(pages().values()), torch.zeros(0, dtype=torch.int64)
    cos = torch.zeros(0, 1, 4)
    return {
        "attention_forward": [
            (
                (0, 3, 4, 8),
                lambda b: api.attention_forward(rand(0, 3, 4, 8), rand(0, 3, 2, 8), rand(0, 3, 2, 8), backend=b),
            ),
            (
                (2, 0, 4, 8),
                lambda b: api.attention_forward(rand(2, 0, 4, 8), rand(2, 0, 2, 8), rand(2, 0, 2, 8), backend=b),
            ),
            (
                (2, 0, 4, 8),
                lambda b: api.attention_forward(rand(2, 0, 4, 8), rand(2, 3, 2, 8), rand(2, 3, 2, 8), backend=b),
            ),
            ((0, 3, 4, 8), lambda b: api.attention_forward(*[rand(0, 3, 4, 8)] * 3, seq_lens=[], backend=b)),
        ],
        "paged_attention_forward": [
            (
                (0, 4, 8),
                lambda b: api.paged_attention_forward(rand(0, 4, 8), *caches, nothing.view(0, 2), [], backend=b),
            ),
            (
                (0, 3, 4, 8),
                lambda b: api.paged_attention_forward(rand(0, 3, 4, 8), *caches, nothing.view(0, 2), [], backend=b),
            ),
            (
                (0, 4, 8),
                lambda b: api.paged_attention_forward(
                    rand(0, 4, 8), *caches, torch.zeros(2, 1).long(), [3, 0], query_lens=[0, 0], backend=b
                ),
            ),
            (
                (2, 0, 4, 8),
                lambda b: api.paged_attention_forward(
                    rand(2, 0, 4, 8), *caches, torch.zeros(2, 1).long(), [3, 0], backend=b
                ),
            ),
            (
                (0, 4, 8),
                lambda b: api.paged_attention_forward(
                    rand(0, 4, 8),
                    *caches,
                    nothing.view(0, 2),
                    [],
                    plan=api.plan_attention(nothing.view(0, 2), [], [], caches[0], backend=b),
                    backend=b,
                ),
            ),
        ],
        "plan_attention": [(None, lambda b: api.plan_attention(nothing.view(0, 0), [], None, caches[0], backend=b))],
        "copy_blocks": [(None, lambda b: api.copy_blocks(*caches, nothing.view(0, 2), backend=b))],
        "reshape_and_cache": [
            (None, lambda b: api.reshape_and_cache(rand(0, 2, 8), rand(0, 2, 8), *caches, nothing, backend=b)),
            (
                None,
                lambda b: api.reshape_and_cache(
                    rand(1, 2, 8), rand(1, 2, 8), *caches, nothing.new_tensor([-1]), backend=b
                ),
            ),
        ],
        "gather_pages": [((0, 2, 8), lambda b: api.gather_pages(caches[0], nothing, 0, backend=b))],
        "rms_norm": [
            ((0, 8), lambda b: api.rms_norm(rand(0, 8), rand(8), 1e-6, backend=b)),
            ((3, 0), lambda b: api.rms_norm(rand(3, 0), rand(0), 1e-6, backend=b)),
            ((0, 8), lambda b: api.rms_norm(rand(0, 8), rand(8), 1e-6, residual=rand(0, 8), backend=b)),
        ],
        "rope": [
            (None, lambda b: api.rope(rand(0, 2, 8), cos, cos, backend=b)),
            (None, lambda b: api.rope(rand(3, 0, 8), torch.zeros(3, 1, 4), torch.zeros(3, 1, 4), backend=b)),
        ],
        "silu_mul": [
            ((0, 4), lambda b: api.silu_mul(rand(0, 8), backend=b)),
            ((3, 0), lambda b: api.silu_mul(rand(3, 0), backend=b)),
            ((0,), lambda b: api.silu_mul(rand(0), backend=b)),
        ],
        "embedding": [((0, 8), lambda b: api.embedding(rand(5, 8), nothing, backend=b))],
        "match_prefixes": [
            ((0,), lambda b: api.match_prefixes(tree(), nothing.view(0, 3), [], backend=b).lengths),
            ((2,), lambda b: api.match_prefixes(tree(), nothing.view(2, 0), [0, 0], backend=b).lengths),
        ],
        "choose_victims": [
            ((0,), lambda b: api.choose_victims(nothing, nothing, nothing > 0, 4, backend=b)),
            (
                (0,),
                lambda b: api.choose_victims(nothing.new_ones(2), nothing.new_ones(2), torch.ones(2) > 0, 0, backend=b),
            ),
        ],
        "sample": [
            ((0,), lambda b: api.sample(rand(0, 5), backend=b)),
            ((0,), lambda b: api.sample(rand(0, 5), [], [], [], [], presence_penalty=[], output_tokens=[], backend=b)),
            ((0,), lambda b: api.sample(rand(0, 5), 0.5, 0.9, 3, min_p=0.1, seeds=[], steps=[], backend=b)),
        ],
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operation", empty_calls())
def test_nothing_to_do_is_done(operation, backend):
    """Catches a launch of no blocks, a maximum over nothing, and a count of 0 that is refused."""
    with torch.device(DEVICE):
        for shape, call in empty_calls()[operation]:
            out = call(backend)
            assert shape is None or (out.shape == shape and out.dtype in (torch.float32, torch.int64))


def test_every_operation_is_tried_empty():
    """Catches an operation that is added and never called with nothing."""
    offered = {name for name, value in vars(api).items() if callable(value) and name[0].islower()}
    assert offered - {"available_backends"} == set(empty_calls())


# --- thresholds at exact equality ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("logits", "settings", "kept"),
    [
        ([3.0, 1.0, 3.0, 2.0], {"min_p": 1.0}, [0, 2]),
        ([3.0, 1.0, 3.0, 2.0], {"min_p": 1.0, "temperature": 0.3}, [0, 2]),
        ([3.0, 1.0, 3.0, 2.0], {"min_p": 1}, [0, 2]),
        ([3.0, 1.0, 3.0, 2.0], {"min_p": 0.0}, [0, 1, 2, 3]),
        ([3.0, 1.0, -math.inf, 2.0], {"top_p": 1.0}, [0, 1, 3]),
        ([3.0, 1.0, 3.0, 2.0], {"top_k": 4}, [0, 1, 2, 3]),
        ([3.0, 1.0, 3.0, 2.0], {"top_k": 2**31 - 1}, [0, 1, 2, 3]),
        ([3.0, 1.0, 3.0, 2.0], {"top_k": 3}, [0, 2, 3]),
        ([0.0, 0.0, 0.0, 0.0], {"top_p": 0.25}, [0]),
        ([0.0, 0.0, 0.0, 0.0], {"top_p": 0.5}, [0, 1]),
        ([0.0, 0.0, 0.0, 0.0], {"top_p": 0.75}, [0, 1, 2]),
        ([0.0, 0.0, 0.0, 0.0], {"top_p": math.nextafter(0.5, 1)}, [0, 1, 2]),
        ([0.0, 0.0, 0.0, 0.0], {"top_p": math.nextafter(0.5, 0)}, [0, 1]),
        ([3.0, 1.0, 3.0, 2.0], {"temperature": 0}, [0]),
        ([3.0, 1.0, 3.0, 2.0], {"temperature": 1e-30}, [0, 2]),
        ([1.0, 2.0, 3.0, 3.0], {"temperature": 0, "presence_penalty": -1.0, "output_tokens": [[1]]}, [1]),
        ([1.0, 2.0, 3.0, 3.0], {"temperature": 0, "presence_penalty": -1, "output_tokens": [[1]]}, [1]),
        ([1.0, 2.0, 3.0, 0.0], {"temperature": 0, "presence_penalty": 1.0, "output_tokens": [[2]]}, [1]),
        ([1.0, 2.0, 3.0, 0.0], {"temperature": 0, "repetition_penalty": 1.5, "output_tokens": [[2]]}, [1]),
        ([1.0, 2.0, 3.0, 0.0], {"temperature": 0, "repetition_penalty": 0.01, "output_tokens": [[0]]}, [0]),
    ],
)
def test_thresholds_at_equality(logits, settings, kept, backend):
    """Catches `<` where `<=` is meant, a default that stands for a value, and NaN that counts as a number.

    Looks at the probabilities themselves, and at which tokens can be drawn: the kept ones share the numbers in [0, 1).
    """
    rows = torch.tensor([logits], device=DEVICE)
    probs = SamplingKernel().probabilities(rows, **settings)[0]
    assert probs.isfinite().all()
    assert probs.nonzero().flatten().tolist() == kept
    assert abs(probs.sum().item() - 1) < 1e-6
    steps = list(range(60))
    many = {name: value * 60 if name == "output_tokens" else value for name, value in settings.items()}
    tokens = api.sample(rows.repeat(60, 1), seeds=[7] * 60, steps=steps, backend=backend, **many)
    assert sorted(set(tokens.tolist())) == kept


# --- nothing is half-changed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [ops.operations(name) for name in ("torch",)])
def test_a_value_cache_that_is_no_view_is_not_half_written(backend):
    """Catches keys that are stored before it is seen that values cannot be: also where nothing is checked."""
    keys, values = pages().values()
    uneven = values.transpose(1, 2).contiguous().transpose(1, 2)
    before = dump([keys, uneven])
    with pytest.raises(RuntimeError, match="view"):
        backend.reshape_and_cache(rand(1, 2, 8), rand(1, 2, 8), keys, uneven, torch.tensor([0]))
    assert dump([keys, uneven]) == before


@pytest.mark.parametrize("block_id", [None, "0", 0.0, True, slice(1), NAN, torch.tensor(0), 6, -1, 2**63])
def test_a_block_that_is_not_there(block_id):
    """Catches `manager.blocks[True]`, and a negative number that counts from the end."""
    with pytest.raises((TypeError, IndexError), match="block "):
        manager().blocks[block_id]
    assert manager().blocks[np.int64(1)].keys.shape == (2, 4, 2, 8)


def test_a_block_can_be_written_with_views_of_the_pool():
    """Catches a copy from the pool to itself that torch refuses after the copy on write."""
    kv = manager()
    block = kv.blocks[0]
    expected = block.keys[1].clone()
    kv.write("b", block.keys[1], block.values[1], start=0, layer=0)
    assert torch.equal(kv.read("b", end=4)[0], expected)
    kv.check_integrity()


# --- right in any layout -------------------------------------------------------------------------------------------


def layouts(x):
    """The same numbers lying otherwise: with gaps, transposed, behind an offset, one row for many."""
    if not isinstance(x, torch.Tensor) or x.ndim == 0:
        return []
    gaps = torch.stack((x, x), dim=-1)[..., 0]
    behind = torch.cat((x.flatten()[:1], x.flatten()))[1:].view(x.shape)
    turned = x.transpose(0, -1).contiguous().transpose(0, -1)
    return [gaps, behind, turned, x[:1].expand_as(x)]


VIEWED = [row for row in rows() if "backend" in row[3] and row[0] not in ("operations", "KernelOperations")]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("function", "good"), [pytest.param(*row[2:4], id=row[0]) for row in VIEWED])
def test_views_are_right_or_refused(function, good, backend):
    """Catches a kernel that takes a view for contiguous, or that its address is even: misaligned access ends a GPU's
    process. A view gives what a copy of it gives, in results and in what is written, or is a ValueError that says why.
    """
    if backend == "cuda":
        good = {
            name: x.to("cuda") if isinstance(x, torch.Tensor | radix_ops.FlatTree) else x for name, x in good.items()
        }

    def result(argument, value):
        arguments = {name: each for name, each in good.items() if name not in (argument, "generator", "backend")}
        arguments = copy.deepcopy(arguments) | {argument: value, "backend": backend}
        if "generator" in good:
            arguments["generator"] = [torch.Generator().manual_seed(s) for s in range(2)]
        out = function(**arguments)
        tensors = [x for x in (out, *arguments.values()) if isinstance(x, torch.Tensor)]
        return tensors + list(out if isinstance(out, radix_ops.Positions) else ())

    for argument, x in good.items():
        for view in layouts(x):
            contiguous = view.clone(memory_format=torch.contiguous_format)
            try:
                got = result(argument, view)
            except ValueError as error:
                assert re.search("contiguous|in place|differ|pair|blocks|tokens apart", str(error)), error  # noqa: PT017
            else:
                torch.testing.assert_close(got, result(argument, contiguous), msg=lambda text: f"{argument}: {text}")  # noqa: B023
