"""The operations as `torch.ops.yaie...`: so that `torch.compile` and `torch.export` keep a kernel in their graphs.

To a compiler a kernel is a black box. Each entry here says which arguments it takes and which of them it writes (the
schema; `Tensor(a!)` is written), what shape, dtype and layout come out (the fake, which computes nothing), and what to
run in the end: `yaie.kernels.api`, with its checks and its choice of a backend.

They take tensors where `api` also takes lists. Here are the operations of a decoder and of its cache; those that take
or return Python objects (plans, trees, generators) are not for a compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from yaie.kernels import api

operators: dict[str, Any] = {}


def _define(name: str, schema: str, fake: Callable, function: Callable | None = None) -> None:
    """Register `torch.ops.yaie.<name>`, which calls `function` (None: the one of that name in `api`) by the names in
    the schema. The last argument of each, `str backend`, is left out of its schema here.
    """
    function = function or getattr(api, name)
    arguments, _, result = schema.partition(" -> ")
    names = [part.split()[-1] for part in arguments.split(", ")]
    written = tuple(part.split()[-1] for part in arguments.split(", ") if "!" in part)

    def run(*values: Any) -> Any:
        out = function(**dict(zip((*names, "backend"), values, strict=True)))
        return out.contiguous() if isinstance(out, Tensor) else out

    schema = f"({arguments}, str backend) -> {result}"
    operators[name] = torch.library.custom_op(f"yaie::{name}", run, mutates_args=written, schema=schema)
    operators[name].register_fake(fake)


def _like(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


_define("rms_norm", "Tensor x, Tensor weight, float eps -> Tensor", _like)
_define("add_rms_norm", "Tensor x, Tensor(a!) residual, Tensor weight, float eps -> Tensor", _like, api.rms_norm)
_define("rope", "Tensor(a!) x, Tensor cos, Tensor sin -> ()", lambda *_: None)
_define(
    "silu_mul",
    "Tensor gate_up -> Tensor",
    lambda gate_up, _: gate_up.new_empty(*gate_up.shape[:-1], gate_up.shape[-1] // 2),
)
_define(
    "embedding",
    "Tensor table, Tensor token_ids -> Tensor",
    lambda table, token_ids, _: table.new_empty(token_ids.shape[0], table.shape[1]),
)
_define("copy_blocks", "Tensor(a!) key_cache, Tensor(b!) value_cache, Tensor block_mapping -> ()", lambda *_: None)
_define(
    "reshape_and_cache",
    "Tensor key, Tensor value, Tensor(a!) key_cache, Tensor(b!) value_cache, Tensor slot_mapping -> ()",
    lambda *_: None,
)
_define(
    "gather_pages",
    "Tensor cache, Tensor block_table, int context_len -> Tensor",
    lambda cache, table, context_len, _: cache.new_empty(context_len, *cache.shape[2:]),
)
_define("attention_forward", "Tensor query, Tensor key, Tensor value, bool causal, float? scale -> Tensor", _like)
_define(
    "paged_attention_forward",
    "Tensor query, Tensor key_cache, Tensor value_cache, Tensor block_tables, Tensor context_lens, int[]? query_lens, "
    "float? scale -> Tensor",
    _like,
)
