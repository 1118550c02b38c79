"""The operations as `torch.ops.yaie...`: so that `torch.compile` and `torch.export` keep a kernel in their graphs.

    import yaie.kernels.library
    torch.ops.yaie.rms_norm(x, weight, 1e-6, "auto")

To a compiler a kernel is a black box. It asks three things of the box, and this file answers them for each operation:
which arguments it writes (`mutates_args`), what shape, dtype and layout come out (`register_fake`, which computes
nothing), and what to run in the end: `yaie.kernels.api`, with its checks and its choice of a backend.

The operations take tensors where `api` also takes lists, and the arrays of a tree in the place of `FlatTree`. `sample`
draws by seeds and steps only: a generator is a state that a compiler does not see. The penalties are left to
`sampling.apply_penalties`, which is plain torch. Left out is `plan_attention`: it plans on the CPU and returns a Python
object, which cannot come out of an operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.library import custom_op

from yaie.kernels import api
from yaie.kernels.radix_ops import FlatTree, Positions


@custom_op("yaie::rms_norm", mutates_args=())
def rms_norm(x: Tensor, weight: Tensor, eps: float, backend: str) -> Tensor:
    return api.rms_norm(x, weight, eps, backend=backend)


@rms_norm.register_fake
def _(x, weight, eps, backend):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@custom_op("yaie::add_rms_norm", mutates_args=("residual",))
def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float, backend: str) -> Tensor:
    return api.rms_norm(x, weight, eps, residual=residual, backend=backend)


@add_rms_norm.register_fake
def _(x, residual, weight, eps, backend):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@custom_op("yaie::rope", mutates_args=("x",))
def rope(x: Tensor, cos: Tensor, sin: Tensor, backend: str) -> None:
    api.rope(x, cos, sin, backend=backend)


@rope.register_fake
def _(x, cos, sin, backend):
    return None


@custom_op("yaie::silu_mul", mutates_args=())
def silu_mul(gate_up: Tensor, backend: str) -> Tensor:
    return api.silu_mul(gate_up, backend=backend)


@silu_mul.register_fake
def _(gate_up, backend):
    return gate_up.new_empty(*gate_up.shape[:-1], gate_up.shape[-1] // 2)


@custom_op("yaie::embedding", mutates_args=())
def embedding(table: Tensor, token_ids: Tensor, backend: str) -> Tensor:
    return api.embedding(table, token_ids, backend=backend)


@embedding.register_fake
def _(table, token_ids, backend):
    return table.new_empty(token_ids.shape[0], table.shape[1])


@custom_op("yaie::copy_blocks", mutates_args=("key_cache", "value_cache"))
def copy_blocks(key_cache: Tensor, value_cache: Tensor, block_mapping: Tensor, backend: str) -> None:
    api.copy_blocks(key_cache, value_cache, block_mapping, backend=backend)


@copy_blocks.register_fake
def _(key_cache, value_cache, block_mapping, backend):
    return None


@custom_op("yaie::reshape_and_cache", mutates_args=("key_cache", "value_cache"))
def reshape_and_cache(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor, backend: str
) -> None:
    api.reshape_and_cache(key, value, key_cache, value_cache, slot_mapping, backend=backend)


@reshape_and_cache.register_fake
def _(key, value, key_cache, value_cache, slot_mapping, backend):
    return None


@custom_op("yaie::gather_pages", mutates_args=())
def gather_pages(cache: Tensor, block_table: Tensor, context_len: int, backend: str) -> Tensor:
    return api.gather_pages(cache, block_table, context_len, backend=backend)


@gather_pages.register_fake
def _(cache, block_table, context_len, backend):
    return cache.new_empty(context_len, *cache.shape[2:])


@custom_op("yaie::attention_forward", mutates_args=())
def attention_forward(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float | None, backend: str
) -> Tensor:
    out = api.attention_forward(query, key, value, causal=causal, scale=scale, backend=backend)
    return out.contiguous()


@attention_forward.register_fake
def _(query, key, value, causal, scale, backend):
    return torch.empty_like(query, memory_format=torch.contiguous_format)


@custom_op("yaie::paged_attention_forward", mutates_args=())
def paged_attention_forward(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_tables: Tensor,
    context_lens: Tensor,
    query_lens: Sequence[int] | None,
    scale: float | None,
    backend: str,
) -> Tensor:
    out = api.paged_attention_forward(
        query, key_cache, value_cache, block_tables, context_lens, query_lens=query_lens, scale=scale, backend=backend
    )
    return out.contiguous()


@paged_attention_forward.register_fake
def _(query, key_cache, value_cache, block_tables, context_lens, query_lens, scale, backend):
    return torch.empty_like(query, memory_format=torch.contiguous_format)


@custom_op("yaie::match_prefixes", mutates_args=())
def match_prefixes(
    edges: Tensor, starts: Tensor, children: Tensor, page_size: int, tokens: Tensor, lengths: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    tree = FlatTree(edges, starts, children, page_size)
    nodes, inside, matched = api.match_prefixes(tree, tokens, lengths, backend=backend)
    return nodes.clone(), inside.clone(), matched.clone()  # an operator's results may not share memory


@match_prefixes.register_fake
def _(edges, starts, children, page_size, tokens, lengths, backend):
    return tuple(tokens.new_empty(tokens.shape[0]) for _ in Positions._fields)


@custom_op("yaie::choose_victims", mutates_args=())
def choose_victims(last_used: Tensor, sizes: Tensor, evictable: Tensor, num_tokens: int, backend: str) -> Tensor:
    return api.choose_victims(last_used, sizes, evictable, num_tokens, backend=backend)


@choose_victims.register_fake
def _(last_used, sizes, evictable, num_tokens, backend):
    num_victims = torch.library.get_ctx().new_dynamic_size()  # known only when the operation has run
    return last_used.new_empty(num_victims)


@custom_op("yaie::sample", mutates_args=())
def sample(
    logits: Tensor,
    temperature: Tensor,
    top_p: Tensor,
    top_k: Tensor,
    min_p: Tensor,
    seeds: Tensor,
    steps: Tensor,
    backend: str,
) -> Tensor:
    return api.sample(
        logits, temperature, top_p, top_k, min_p=min_p, seeds=seeds.tolist(), steps=steps.tolist(), backend=backend
    )


@sample.register_fake
def _(logits, temperature, top_p, top_k, min_p, seeds, steps, backend):
    return logits.new_empty(logits.shape[:-1], dtype=torch.int64)
