"""One decoder for Llama, Mistral, Qwen2 and Qwen3: what they compute differs only in biases and two norms.

It is written once, over the operations of a backend (`yaie.kernels.ops`); matrix products are torch's. It knows nothing
about caches: a block hands the heads of its new tokens to a function `attend`, with what normalises and rotates them,
and gets the attention output back. The three ways to run the model differ in that function (and `forward_naive` takes
the plainest rungs):

* `forward_naive`: the keys are those of the tokens given. Slow and plain, the oracle of everything else.
* `forward_contiguous`: the keys of earlier tokens come first, in one tensor per layer that grows.
* `forward`: keys and values are stored in pages of a shared pool, many sequences at once. The engine runs this.

Layouts: hidden states `[num_tokens, hidden_size]`; query, key and value `[num_tokens, heads, head_dim]`, side by side
as the `heads` of one matrix product.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yaie.kernels import attention, checks, rope
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import Operations, TorchOperations
from yaie.kernels.ops import operations as by_name
from yaie.models.batch import Batch
from yaie.models.config import ModelConfig
from yaie.parallel.group import ALONE, Group
from yaie.parallel.shards import local_config, span

PLAIN = TorchOperations(rungs={"attention": 1, "rms_norm": 1, "rope": 1})
Attend = Callable[..., Tensor]  # of heads, norms, eps, cos and sin, see `TorchOperations.split_heads`
Past = list[tuple[Tensor, Tensor]]


class Module(nn.Module):
    """An `nn.Module` whose call is its `forward`, and whose parts are plain attributes: PyTorch's look for hooks and
    parts took 7% of a decode step of a small model."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, nn.Module):
            self.__dict__[name] = value

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)


class Linear(Module, nn.Linear):
    """A linear layer; its call is the matrix product itself."""

    def __call__(self, x: Tensor) -> Tensor:
        parts = self._parameters  # nn.Module finds `self.weight` by a search in Python
        return F.linear(x, parts["weight"], parts["bias"])


class SummedLinear(Linear):
    """A linear layer of which each rank has some of the inputs: every rank computes a part of all outputs, and their
    sum is the result. The bias is rank 0's alone, so that it is added once."""

    def __init__(self, num_inputs: int, num_outputs: int, bias: bool, group: Group) -> None:
        super().__init__(num_inputs, num_outputs, bias)
        self.group = group

    def __call__(self, x: Tensor) -> Tensor:
        return self.group.all_reduce(super().__call__(x))


class SelfAttention(Module):
    """The projections around attention. Query, key and value come from one matrix product.

    config: of the heads that this rank of `group` has
    """

    def __init__(self, config: ModelConfig, group: Group):
        super().__init__()
        self.head_dim, self.eps = config.head_dim, config.rms_norm_eps
        num_projected = config.num_heads + 2 * config.num_kv_heads
        self.qkv_proj = Linear(config.hidden_size, num_projected * config.head_dim, config.attention_bias)
        num_inputs = config.num_heads * config.head_dim
        self.o_proj = SummedLinear(num_inputs, config.hidden_size, config.attention_output_bias, group)
        self.q_norm = nn.Parameter(torch.ones(config.head_dim)) if config.qk_norm else None
        self.k_norm = nn.Parameter(torch.ones(config.head_dim)) if config.qk_norm else None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, operations: Operations) -> Tensor:
        """`[num_tokens, hidden_size]` to the same. `cos` and `sin` are those of the tokens' positions."""
        heads = self.qkv_proj(x).view(x.shape[0], -1, self.head_dim)
        return self.o_proj(attend(heads, (self.q_norm, self.k_norm), self.eps, cos, sin).flatten(1))


class DecoderBlock(Module):
    """One of the decoder's equal layers: attention moves information between tokens, the MLP works on each alone."""

    def __init__(self, config: ModelConfig, group: Group = ALONE):
        super().__init__()
        self.eps = config.rms_norm_eps
        self.input_norm = nn.Parameter(torch.ones(config.hidden_size))
        self.attention = SelfAttention(config, group)
        self.post_attention_norm = nn.Parameter(torch.ones(config.hidden_size))
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size, config.mlp_bias)
        self.down_proj = SummedLinear(config.intermediate_size, config.hidden_size, config.mlp_bias, group)

    def forward(
        self, change: Tensor, residual: Tensor, cos: Tensor, sin: Tensor, attend: Attend, operations: Operations
    ) -> Tensor:
        """Attention, then the MLP, each on a normalised copy of the residual stream, to which its result is added.

        The stream itself is never normalised: it is how a layer passes on what it does not change. Each sum is left to
        the norm that comes after it (`operations.rms_norm` with `residual`), which has the numbers in hand anyway.

        change: `[num_tokens, hidden_size]`, the output of the block before, still to be added to the stream; what is
            returned is the change that the next block has to add
        residual: `[num_tokens, hidden_size]`, the stream so far; changed in place
        """
        normed = operations.rms_norm(change, self.input_norm, self.eps, residual)
        change = self.attention(normed, cos, sin, attend, operations)
        normed = operations.rms_norm(change, self.post_attention_norm, self.eps, residual)
        return self.down_proj(operations.silu_mul(self.gate_up_proj(normed)))


class Llama(Module):
    """The decoder. Weights are for inference only (no gradients); they start random, `load_model` fills them.

    A rank of a `group` has a part of every weight (`self.local` is the shape of it), and all ranks run together.
    """

    def __init__(self, config: ModelConfig, group: Group = ALONE):
        super().__init__()
        self.config, self.group = config, group
        self.local = local = local_config(config, group.size)
        self.embed_tokens = nn.Embedding.from_pretrained(_random_rows(local, 1))
        self.layers = nn.ModuleList(DecoderBlock(local, group) for _ in range(config.num_layers))
        self.norm = nn.Parameter(torch.ones(config.hidden_size))
        tied = config.tie_word_embeddings
        self.lm_head = self.embed_tokens.weight if tied else nn.Parameter(_random_rows(local, 0.02))  # as transformers
        self.requires_grad_(False)
        # Not a buffer, float32 always: `model.half()` would round it, and late positions would fall together.
        with torch.device("cpu"):
            self.inv_freq = config.inv_freq()

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token of the vocabulary, `[n, vocab_size]`, from `[n, hidden_size]`."""
        logits = self.group.all_gather(F.linear(hidden, self.lm_head))
        return logits[:, : self.config.vocab_size]  # behind them is the padding of a vocabulary that is split

    def _embed(self, token_ids: Tensor, operations: Operations) -> Tensor:
        """The vectors of tokens, `[num_tokens, hidden_size]`. Each is a row of one rank; the others add zeros to it."""
        weight = self.embed_tokens.weight
        if self.group.size == 1:
            return operations.embedding(weight, token_ids)
        mine = span(self.config.vocab_size, self.group.rank, self.group.size)
        is_mine = (token_ids >= mine.start) & (token_ids < mine.stop)
        rows = operations.embedding(weight, (token_ids - mine.start).where(is_mine, 0))
        return self.group.all_reduce(rows.where(is_mine[:, None], 0))

    @torch.inference_mode()
    def forward(
        self, batch: Batch, kv_cache: KVCacheManager, operations: Operations | None = None, plan: Any = None
    ) -> Tensor:
        """One step of the engine: store keys and values of the new tokens, attend over pages.

        `plan`, from the same `operations`, is for the attention over these pages (None: it is made here). Returns
        `[num_tokens, hidden_size]`, normalised, ready for `logits` of the rows that need them.
        """
        operations = operations or by_name("torch")
        caches = kv_cache.layers
        pages = batch.block_tables, batch.lengths, batch.query_lens
        if plan is None:
            plan = operations.plan_attention(*pages, caches[0][0], batch.shared)

        def attend(layer: int, *heads: Any) -> Tensor:
            query = operations.rope_and_cache(*heads, *caches[layer], batch.slot_mapping)
            return operations.paged_attention_forward(query, *caches[layer], *pages, None, plan)

        return self._run(batch.token_ids, batch.positions, attend, operations)

    @torch.inference_mode()
    def forward_naive(self, token_ids: Tensor) -> Tensor:
        """Logits `[num_tokens, vocab_size]`, float32, of one sequence `[num_tokens]`, computed without any cache."""

        def attend(layer: int, *heads: Any) -> Tensor:
            query, key, value = PLAIN.split_heads(self.local.num_kv_heads, *heads)
            mask = attention.causal_mask(len(query), len(key), 0, query.device)
            out, _ = attention.attention(query[None], key[None], value[None], mask)
            return out[0].to(query.dtype)

        self._check(token_ids)
        positions = torch.arange(len(token_ids), device=token_ids.device)
        return self.logits(self._run(token_ids, positions, attend, PLAIN)).float()

    @torch.inference_mode()
    def forward_contiguous(self, token_ids: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Logits `[num_tokens, vocab_size]`, float32, of the next tokens of one sequence, and for each layer key and
        value of all tokens so far, `[past_len + num_tokens, num_kv_heads, head_dim]` each: the next call's `past`,
        unchanged by it.
        """
        self._check(token_ids)
        past_len = len(past[0][0]) if past else 0
        grown: Past = []
        operations = by_name("torch")

        def attend(layer: int, *heads: Any) -> Tensor:
            query, key, value = operations.split_heads(self.local.num_kv_heads, *heads)
            if past:
                key, value = torch.cat((past[layer][0], key)), torch.cat((past[layer][1], value))
            grown.append((key, value))
            out, _ = attention.causal_attention(query[None], key[None], value[None], past_len)
            return out[0].to(query.dtype)

        positions = torch.arange(past_len, past_len + len(token_ids), device=token_ids.device)
        return self.logits(self._run(token_ids, positions, attend, operations)).float(), grown

    def _check(self, token_ids: Tensor) -> None:
        """Raise ValueError unless these are tokens of one sequence: a wrong one would end the use of a GPU."""
        checks.Sizes().take("num_tokens", checks.INTEGERS, token_ids=token_ids)
        checks.require(len(token_ids) > 0, "token_ids must have at least one", token_ids)
        checks.indices("token_ids", token_ids, self.config.vocab_size)

    def _run(
        self, token_ids: Tensor, positions: Tensor, attend: Callable[..., Tensor], operations: Operations
    ) -> Tensor:
        """Through all layers: token ids and positions `[num_tokens]` to hidden states `[num_tokens, hidden_size]`."""
        if self.inv_freq.device != positions.device:  # once: with a copy in every step the CPU would wait for the GPU
            self.inv_freq = self.inv_freq.to(positions.device)
        cos, sin = rope.rope_cos_sin(positions, self.inv_freq)
        change = self._embed(token_ids, operations)
        residual = torch.zeros_like(change)
        for layer, block in enumerate(self.layers):
            change = block(change, residual, cos, sin, partial(attend, layer), operations)
        return operations.rms_norm(change, self.norm, self.config.rms_norm_eps, residual)

    def checkpoint_views(self) -> dict[str, Tensor]:
        """Every tensor of a Hugging Face checkpoint of this model by its name there, as a view of our weights: to write
        to it fills its part of a fused matrix. With tied embeddings there is no `lm_head.weight`. Of a rank they are
        as large as its parts."""
        config = self.local
        kv_size, size = config.num_kv_heads * config.head_dim, config.intermediate_size
        query_key_value = {"q_proj": config.num_heads * config.head_dim, "k_proj": kv_size, "v_proj": kv_size}
        views = {"model.embed_tokens.weight": self.embed_tokens.weight, "model.norm.weight": self.norm}
        if not config.tie_word_embeddings:
            views["lm_head.weight"] = self.lm_head
        for layer, block in enumerate(self.layers):
            at, attention = f"model.layers.{layer}.", block.attention
            for linear, place, parts in (
                (attention.qkv_proj, "self_attn", query_key_value),
                (attention.o_proj, "self_attn", {"o_proj": config.hidden_size}),
                (block.gate_up_proj, "mlp", {"gate_proj": size, "up_proj": size}),
                (block.down_proj, "mlp", {"down_proj": config.hidden_size}),
            ):
                for kind, parameter in linear.named_parameters():
                    pieces = parameter.split(list(parts.values()))
                    views |= {f"{at}{place}.{part}.{kind}": piece for part, piece in zip(parts, pieces, strict=True)}
            views[f"{at}input_layernorm.weight"] = block.input_norm
            views[f"{at}post_attention_layernorm.weight"] = block.post_attention_norm
            if config.qk_norm:
                views[f"{at}self_attn.q_norm.weight"] = attention.q_norm
                views[f"{at}self_attn.k_norm.weight"] = attention.k_norm
        return {name: view.detach() for name, view in views.items()}


def _random_rows(config: ModelConfig, std: float) -> Tensor:
    """A row for each token. Without memory nothing is drawn: PyTorch would import a compiler for it, in 1 s."""
    rows = torch.empty(config.vocab_size, config.hidden_size)
    return rows if rows.is_meta else rows.normal_() * std


def generate_greedy(
    model: Llama, token_ids: list[int], max_new_tokens: int, stop_token_ids: Collection[int] = ()
) -> list[int]:
    """Continue a text, of at least one token, with the most likely token, again and again, until that is one of
    `stop_token_ids`; each token goes through the model once. Returns the new tokens, that one included.
    """
    checks.integer("max_new_tokens", max_new_tokens)
    new, past, generated = torch.tensor(token_ids, device=model.device), None, []
    while len(generated) < max_new_tokens:
        logits, past = model.forward_contiguous(new, past)
        token = int(logits[-1].argmax())
        generated.append(token)
        if token in stop_token_ids:
            break
        new = torch.tensor([token], device=model.device)
    return generated
