"""The operations as `torch.ops.yaie...`: so that `torch.compile` and `torch.export` keep a kernel in their graphs.

To a compiler a kernel is a black box. Each entry here says which arguments it takes and which of them it writes (the
schema; `Tensor(a!)` is written), what shape, dtype and layout come out (the fake, which computes nothing), and what to
run in the end: `yaie.kernels.api`, with its checks and its choice of a backend.

They take tensors where `api` also takes lists. Here are the operations of a decoder and of its cache; those that take
or return Python objects (plans, trees, generators) are not for a compiler.
"""

from typing import Any

import torch
from torch import Tensor

from yaie.kernels import api


def _like(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _nothing(*_: Any) -> None: ...


# By name: the schema, without `str backend`, which every operator takes last, and the fake.
_PAGES = "Tensor query, Tensor key_cache, Tensor value_cache, Tensor block_tables, Tensor context_lens"
_CACHES = "Tensor(a!) key_cache, Tensor(b!) value_cache"
_SCHEMAS = {
    "rms_norm": ("Tensor x, Tensor weight, float eps -> Tensor", _like),
    "add_rms_norm": ("Tensor x, Tensor(a!) residual, Tensor weight, float eps -> Tensor", _like),
    "rope": ("Tensor(a!) x, Tensor cos, Tensor sin -> ()", _nothing),
    "silu_mul": ("Tensor gate_up -> Tensor", lambda x, _: x.new_empty(*x.shape[:-1], x.shape[-1] // 2)),
    "embedding": (
        "Tensor table, Tensor token_ids -> Tensor",
        lambda table, token_ids, _: table.new_empty(token_ids.shape[0], table.shape[1]),
    ),
    "copy_blocks": (f"{_CACHES}, Tensor block_mapping -> ()", _nothing),
    "reshape_and_cache": (f"Tensor key, Tensor value, {_CACHES}, Tensor slot_mapping -> ()", _nothing),
    "gather_pages": (
        "Tensor cache, Tensor block_table, int context_len -> Tensor",
        lambda cache, table, context_len, _: cache.new_empty(context_len, *cache.shape[2:]),
    ),
    "attention_forward": ("Tensor query, Tensor key, Tensor value, bool causal, float? scale -> Tensor", _like),
    "paged_attention_forward": (f"{_PAGES}, int[]? query_lens, float? scale -> Tensor", _like),
}


def _operator(name: str, schema: str, fake: Any) -> Any:
    """`torch.ops.yaie.<name>`, which calls the function of that name in `api` by the names in the schema."""
    function = getattr(api, name.removeprefix("add_"))  # with a residual, a norm adds
    arguments, _, result = schema.partition(" -> ")
    names = [part.split()[-1] for part in arguments.split(", ")]
    written = [part.split()[-1] for part in arguments.split(", ") if "!" in part]

    def run(*values: Any) -> Any:
        out = function(**dict(zip((*names, "backend"), values, strict=True)))
        return out.contiguous() if isinstance(out, Tensor) else out

    schema = f"({arguments}, str backend) -> {result}"
    operator = torch.library.custom_op(f"yaie::{name}", run, mutates_args=written, schema=schema)
    operator.register_fake(fake)
    return operator


operators = {name: _operator(name, *entry) for name, entry in _SCHEMAS.items()}
