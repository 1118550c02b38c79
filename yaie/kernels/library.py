"""The operations as `torch.ops.yaie...`: so that `torch.compile` and `torch.export` keep a kernel in their graphs.

    import yaie.kernels.library
    torch.ops.yaie.rms_norm(x, weight, 1e-6, "auto")

To a compiler a kernel is a black box. It asks three things of the box, and each entry here answers them: which
arguments it takes and which of them it writes (the schema; `Tensor(a!)` is written), what shape, dtype and layout come
out (the fake, which computes nothing), and what to run in the end: `yaie.kernels.api`, with its checks and its choice
of a backend.

The operators take tensors where `api` also takes lists, and the arrays of a tree instead of a `FlatTree`. `sample`
draws by seeds and steps only: a generator is a state that a compiler does not see. Left out is `plan_attention`, which
returns a Python object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from yaie.kernels import api
from yaie.kernels.radix_ops import FlatTree

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


def _nothing(*_: Any) -> None:
    return None


def _like(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _some_victims(last_used: Tensor, *_: Any) -> Tensor:
    return last_used.new_empty(torch.library.get_ctx().new_dynamic_size())  # known only when the operation has run


def _match_prefixes(edges, starts, children, page_size, tokens, lengths, backend) -> tuple[Tensor, ...]:
    positions = api.match_prefixes(FlatTree(edges, starts, children, page_size), tokens, lengths, backend=backend)
    return tuple(part.clone() for part in positions)  # an operator's results may not share memory


def _sample(seeds: Tensor, steps: Tensor, **arguments: Any) -> Tensor:
    return api.sample(seeds=seeds.tolist(), steps=steps.tolist(), **arguments)


_define("rms_norm", "Tensor x, Tensor weight, float eps -> Tensor", _like)
_define("add_rms_norm", "Tensor x, Tensor(a!) residual, Tensor weight, float eps -> Tensor", _like, api.rms_norm)
_define("rope", "Tensor(a!) x, Tensor cos, Tensor sin -> ()", _nothing)
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
_define("copy_blocks", "Tensor(a!) key_cache, Tensor(b!) value_cache, Tensor block_mapping -> ()", _nothing)
_define(
    "reshape_and_cache",
    "Tensor key, Tensor value, Tensor(a!) key_cache, Tensor(b!) value_cache, Tensor slot_mapping -> ()",
    _nothing,
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
_define(
    "match_prefixes",
    "Tensor edges, Tensor starts, Tensor children, int page_size, Tensor tokens, Tensor lengths -> "
    "(Tensor, Tensor, Tensor)",
    lambda edges, starts, children, page_size, tokens, *_: tuple(tokens.new_empty(tokens.shape[0]) for _ in range(3)),
    _match_prefixes,
)
_define("choose_victims", "Tensor last_used, Tensor sizes, Tensor evictable, int num_tokens -> Tensor", _some_victims)
_define(
    "sample",
    "Tensor logits, Tensor temperature, Tensor top_p, Tensor top_k, Tensor min_p, Tensor seeds, Tensor steps -> Tensor",
    lambda logits, *_: logits.new_empty(logits.shape[:-1], dtype=torch.int64),
    _sample,
)
