"""One decoder for Llama, Mistral, Qwen2 and Qwen3: what they compute differs only in biases and two norms.

The model knows nothing about caches. A block hands query, key and value of its new tokens to a function `attend`
and gets the attention output back; the three ways to run the model differ in that function alone:

* `forward_naive`: the keys are those of the tokens given. Slow and plain, the oracle of everything else.
* `forward_contiguous`: the keys of earlier tokens come first, in one tensor per layer that grows.
* `forward`: keys and values are stored in pages of a shared pool, many sequences at once. The engine runs this, on
  torch or on the kernels of another backend.

Layouts: hidden states `[num_tokens, hidden_size]`; query, key and value `[num_tokens, heads, head_dim]`.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yaie.kernels import api, radix_attention
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.model_ops import rms_norm, silu_mul
from yaie.models import fused
from yaie.models.batch import Batch
from yaie.models.config import ModelConfig

TORCH = api.Unchecked("torch", torch.empty(0))
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Past = list[tuple[Tensor, Tensor]]


def swiglu(x: Tensor, gate_up: Callable[[Tensor], Tensor], down: Callable[[Tensor], Tensor]) -> Tensor:
    """The feed-forward half of a block: widen each row to gate and up, let the gate act (`silu_mul`), narrow it again.

    Args:
        x: `[num_tokens, hidden_size]`.
        gate_up: a linear layer to `[num_tokens, 2 * intermediate_size]`, two layers in one matrix product: the first
            half of the columns is the gate, the second half is up.
        down: a linear layer from `[num_tokens, intermediate_size]` back to `[num_tokens, hidden_size]`.

    Returns:
        `[num_tokens, hidden_size]`.

    Source: Shazeer, "GLU Variants Improve Transformer" (2020).
    """
    return down(silu_mul(gate_up(x)))


class Module(nn.Module):
    """An `nn.Module` whose call is its `forward` and nothing else.

    PyTorch's call also looks for hooks. In a decode step of a small model the calls took 5% of the time.
    """

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)


class Linear(Module, nn.Linear):
    """A linear layer."""


class SelfAttention(Module):
    """The projections around attention. Query, key and value come from one matrix product."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim, self.eps = config.head_dim, config.rms_norm_eps
        num_projected = config.num_heads + 2 * config.num_kv_heads
        self.qkv_proj = Linear(config.hidden_size, num_projected * config.head_dim, config.attention_bias)
        self.o_proj = Linear(config.num_heads * config.head_dim, config.hidden_size, config.attention_output_bias)
        self.q_norm = nn.Parameter(torch.ones(config.head_dim)) if config.qk_norm else None
        self.k_norm = nn.Parameter(torch.ones(config.head_dim)) if config.qk_norm else None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """`[num_tokens, hidden_size]` to the same. `cos` and `sin` are those of the tokens' positions."""
        num_heads, num_rotated = self.num_heads, self.num_heads + self.num_kv_heads
        projected = self.qkv_proj(x).view(len(x), -1, self.head_dim)
        query_key, value = projected[:, :num_rotated], projected[:, num_rotated:]
        if self.q_norm is not None:
            query = rms_norm(query_key[:, :num_heads], self.q_norm, self.eps)
            key = rms_norm(query_key[:, num_heads:], self.k_norm, self.eps)
            query_key = torch.cat((query, key), dim=1)
        # Query and key turn alike, so one call rotates both.
        rotated = radix_attention.rotate(query_key, cos, sin)
        return self.o_proj(attend(rotated[:, :num_heads], rotated[:, num_heads:], value).flatten(1))


class DecoderBlock(Module):
    """One of the decoder's equal layers: attention moves information between tokens, the MLP works on each alone."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.eps = config.rms_norm_eps
        self.input_norm = nn.Parameter(torch.ones(config.hidden_size))
        self.attention = SelfAttention(config)
        self.post_attention_norm = nn.Parameter(torch.ones(config.hidden_size))
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size, config.mlp_bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """Add to each token's hidden state what attention says, then what the MLP says.

        Each half works on a normalised copy (`rms_norm`, with `input_norm` before attention and
        `post_attention_norm` before the MLP, and `self.eps`) and its result is added to the hidden state itself,
        which is never normalised: this residual stream is how a layer passes on what it does not change.

        Args:
            hidden: `[num_tokens, hidden_size]`.
            cos, sin: rotation of each token's position, for `self.attention`.
            attend: for `self.attention`; computes attention over the keys that each token may see.

        Returns:
            `[num_tokens, hidden_size]`. The MLP is `swiglu` with `self.gate_up_proj` and `self.down_proj`.
        """
        normed = rms_norm(hidden, self.input_norm, self.eps)
        hidden = hidden + self.attention(normed, cos, sin, attend)
        normed = rms_norm(hidden, self.post_attention_norm, self.eps)
        return hidden + swiglu(normed, self.gate_up_proj, self.down_proj)


class Llama(Module):
    """The decoder. Weights are for inference only (no gradients); they start random, `load_model` fills them.

    Attributes:
        config: its shape.
        inv_freq: frequencies of RoPE, float32 whatever the dtype of the weights.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.norm = nn.Parameter(torch.ones(config.hidden_size))
        if config.tie_word_embeddings:
            self.lm_head = self.embed_tokens.weight
        else:
            self.lm_head = nn.Parameter(torch.randn(config.vocab_size, config.hidden_size) * 0.02)
        self.requires_grad_(False)
        # Not a buffer: `model.half()` would round it, and positions beyond some thousands would fall together.
        with torch.device("cpu"):
            self.inv_freq = config.inv_freq()

    @property
    def dtype(self) -> torch.dtype:
        return self.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embed_tokens.weight.device

    def inv_freq_on(self, device: torch.device) -> Tensor:
        """`inv_freq` on a device, copied there once: with a copy in every step the CPU would wait for the GPU."""
        if self.inv_freq.device != device:
            self.inv_freq = self.inv_freq.to(device)
        return self.inv_freq

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every token of the vocabulary, `[n, vocab_size]` float32, from `[n, hidden_size]`."""
        return F.linear(hidden, self.lm_head).float()

    @torch.inference_mode()
    def forward(
        self, batch: Batch, kv_cache: KVCacheManager, operations: api.Unchecked = TORCH, plan: Any = None
    ) -> Tensor:
        """One step of the engine: store keys and values of the new tokens, attend over pages.

        Args:
            batch: the new tokens and where everything lies.
            kv_cache: its pool is written at `batch.slot_mapping`, in every layer.
            operations: what computes. With torch's, the blocks below run; with others', `yaie.models.fused`.
            plan: for the attention over these pages, from the same `operations`; None: it is made here.

        Returns:
            `[num_tokens, hidden_size]`, normalised, ready for `logits` (for the rows that need them).
        """
        key_caches, value_caches = kv_cache.key_cache.unbind(0), kv_cache.value_cache.unbind(0)
        pages = batch.block_tables, batch.lengths, batch.query_lens
        if plan is None:
            plan = operations.plan_attention(*pages, key_caches[0])

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            caches = key_caches[layer], value_caches[layer]
            operations.reshape_and_cache(key, value, *caches, batch.slot_mapping)
            return operations.paged_attention_forward(query, *caches, *pages, None, plan)

        if operations.backend == "torch":
            return self._run(batch.token_ids, batch.positions, attend)
        return fused.run(self, operations, batch.token_ids, batch.positions, attend)

    @torch.inference_mode()
    def forward_naive(self, token_ids: Tensor) -> Tensor:
        """Logits `[num_tokens, vocab_size]` of one sequence `[num_tokens]`, computed without any cache."""

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            mask = radix_attention.causal_mask(len(query), len(key), 0, query.device)
            out, _ = radix_attention.attention(query[None], key[None], value[None], mask)
            return out[0].to(query.dtype)

        positions = torch.arange(len(token_ids), device=token_ids.device)
        return self.logits(self._run(token_ids, positions, attend))

    @torch.inference_mode()
    def forward_contiguous(self, token_ids: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """The next tokens of one sequence, with keys and values of the earlier ones kept in one piece per layer.

        Args:
            token_ids: `[num_tokens]`, the tokens that come after the past.
            past: what the call before returned; None at the start. It is not changed.

        Returns:
            Logits `[num_tokens, vocab_size]`, and for each layer key and value of all tokens so far, each
            `[past_len + num_tokens, num_kv_heads, head_dim]`.
        """
        past_len = len(past[0][0]) if past else 0
        grown: Past = []

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if past:
                key, value = torch.cat((past[layer][0], key)), torch.cat((past[layer][1], value))
            grown.append((key, value))
            out, _ = radix_attention.causal_attention(query[None], key[None], value[None], past_len)
            return out[0].to(query.dtype)

        positions = torch.arange(past_len, past_len + len(token_ids), device=token_ids.device)
        return self.logits(self._run(token_ids, positions, attend)), grown

    def _run(self, token_ids: Tensor, positions: Tensor, attend: Callable[..., Tensor]) -> Tensor:
        """Through all layers: token ids and positions `[num_tokens]` to hidden states `[num_tokens, hidden_size]`."""
        hidden = self.embed_tokens(token_ids)
        cos, sin = radix_attention.rope_cos_sin(positions, self.inv_freq_on(positions.device))
        for layer, block in enumerate(self.layers):
            hidden = block(hidden, cos, sin, partial(attend, layer))
        return rms_norm(hidden, self.norm, self.config.rms_norm_eps)

    def checkpoint_views(self) -> dict[str, Tensor]:
        """Every tensor of a Hugging Face checkpoint of this model by its name there, as a view of our weights.

        Writing to a view fills its part of a fused matrix (query, key and value; gate and up). With tied embeddings
        there is no `lm_head.weight`.
        """
        config, views = self.config, {}
        kv_size = config.num_kv_heads * config.head_dim

        def add(name: str, linear: nn.Linear, *parts: tuple[str, int]) -> None:
            for kind, parameter in linear.named_parameters():
                pieces = parameter.data.split([size for _, size in parts]) if parts else [parameter.data]
                for part, piece in zip([part for part, _ in parts] or [""], pieces, strict=True):
                    views[f"{name}{part}.{kind}"] = piece

        views["model.embed_tokens.weight"] = self.embed_tokens.weight.data
        views["model.norm.weight"] = self.norm.data
        if not config.tie_word_embeddings:
            views["lm_head.weight"] = self.lm_head.data
        for layer, block in enumerate(self.layers):
            at = f"model.layers.{layer}."
            query_size = config.num_heads * config.head_dim
            parts = (("q_proj", query_size), ("k_proj", kv_size), ("v_proj", kv_size))
            add(f"{at}self_attn.", block.attention.qkv_proj, *parts)
            add(f"{at}self_attn.o_proj", block.attention.o_proj)
            size = config.intermediate_size
            add(f"{at}mlp.", block.gate_up_proj, ("gate_proj", size), ("up_proj", size))
            add(f"{at}mlp.down_proj", block.down_proj)
            views[f"{at}input_layernorm.weight"] = block.input_norm.data
            views[f"{at}post_attention_layernorm.weight"] = block.post_attention_norm.data
            if config.qk_norm:
                views[f"{at}self_attn.q_norm.weight"] = block.attention.q_norm.data
                views[f"{at}self_attn.k_norm.weight"] = block.attention.k_norm.data
        return views


def generate_greedy(
    model: Llama, token_ids: list[int], max_new_tokens: int, stop_token_ids: Collection[int] = ()
) -> list[int]:
    """Continue a text with the most likely token, again and again, with the cache of earlier keys and values.

    The whole prompt goes through `model.forward_contiguous` once; after that each call gets only the newest token and
    the past that the call before returned. The last row of the logits is about the next token.

    Args:
        token_ids: the prompt, at least one token.
        max_new_tokens: how many tokens to generate at most.
        stop_token_ids: generation ends after one of these.

    Returns:
        The new tokens, without the prompt; a token that stopped generation is the last of them.
    """
    new, past, generated = torch.tensor(token_ids, device=model.device), None, []
    while len(generated) < max_new_tokens:
        logits, past = model.forward_contiguous(new, past)
        token = int(logits[-1].argmax())
        generated.append(token)
        if token in stop_token_ids:
            break
        new = torch.tensor([token], device=model.device)
    return generated
