"""The guide's attention block: projections, rotary positions, causal attention, and a cache of the past.

It wraps the functions of `rope` and `attention`. The engine's own decoder, which reads pages, is `yaie.models.llama`.
"""

import torch
from torch import Tensor, nn

from yaie.kernels.attention import causal_attention
from yaie.kernels.checks import FLOATS, INTEGERS, Sizes, flag, integer, integers, require, tensor
from yaie.kernels.rope import rope_cos_sin, rope_inv_freq, rotate


class RadixAttentionBlock(nn.Module):
    """Causal self-attention with RoPE, grouped heads and a contiguous cache of the past."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_dim: int,  # even
        max_position_embeddings: int = 2048,  # what the model was trained for; no table is built, so more works as well
        num_kv_heads: int | None = None,  # a divisor of `num_heads`; None: `num_heads`
        inv_freq: Tensor | None = None,  # [head_dim / 2] from `rope_inv_freq`; None: RoPE with theta 10000
    ):
        super().__init__()
        self.hidden_size = hidden_size = integer("hidden_size", hidden_size, 1)
        self.num_heads = num_heads = integer("num_heads", num_heads, 1)
        self.num_kv_heads = integer("num_kv_heads", num_heads if num_kv_heads is None else num_kv_heads, 1)
        self.max_position_embeddings = integer("max_position_embeddings", max_position_embeddings, 1)
        self.head_dim = head_dim
        sizes = Sizes(num_heads=num_heads, num_kv_heads=self.num_kv_heads)
        sizes.check_heads()
        default = rope_inv_freq(head_dim)
        inv_freq = default if inv_freq is None else inv_freq
        sizes.take(f"{head_dim // 2}", FLOATS, inv_freq=inv_freq)
        require(bool(inv_freq.isfinite().all()), f"inv_freq must be finite, got {inv_freq.tolist()[:8]}")
        self.inv_freq = inv_freq.float()  # no buffer: that would turn into half precision with `block.half()`
        self.q_proj = nn.Linear(hidden_size, num_heads * head_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, self.num_kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, self.num_kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(num_heads * head_dim, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        position_ids: Tensor | None = None,
        past_key_value: tuple[Tensor, Tensor] | None = None,
        use_cache: bool = False,
        attention_mask: Tensor | None = None,
        seq_lens: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, None, tuple[Tensor, Tensor]]:
        """Attend from every token to itself and those before it.

        hidden_states: `[num_seqs, q_len, hidden_size]`, any floating dtype
        position_ids: `[num_seqs, q_len]` or `[q_len]`; default: counting on from the length of the past
        past_key_value: keys (rotated) and values of earlier tokens, each `[num_seqs, past_len, num_kv_heads,
            head_dim]`, as returned by an earlier call
        use_cache: return keys and values as well
        attention_mask: `[num_seqs, past_len + q_len]`, 0 or False at padding, which no query sees
        seq_lens: `[num_seqs]`, instead of a mask: how many of the new tokens are real; padding follows

        Returns the output, shaped and typed like `hidden_states`. With `use_cache` or a past: `(output, None,
        past_key_value)`, the past in the dtype of the weights. Outputs at padding mean nothing.
        """
        sizes = Sizes(num_kv_heads=self.num_kv_heads, head_dim=self.head_dim)
        sizes.device = self.q_proj.weight.device
        sizes.take(f"num_seqs q_len {self.hidden_size}", FLOATS, hidden_states=hidden_states)
        use_cache = flag("use_cache", use_cache)
        if past_key_value is not None:
            pair = isinstance(past_key_value, tuple | list | Tensor) and len(past_key_value) == 2
            require(pair, "past_key_value must be two tensors, keys and values", past_key_value)
            past = {f"past_key_value[{i}]": x for i, x in enumerate(past_key_value)}
            sizes.take("num_seqs past_len num_kv_heads head_dim", FLOATS, **past)
        num_seqs, q_len, past_len = sizes["num_seqs"], sizes["q_len"], sizes.get("past_len", 0)
        keep = self._keep(attention_mask, seq_lens, num_seqs, past_len, q_len, hidden_states.device)
        if position_ids is None:
            position_ids = torch.arange(past_len, past_len + q_len, device=hidden_states.device)
        tensor("position_ids", position_ids, INTEGERS)
        fits = list(position_ids.shape) in ([q_len], [1, q_len], [num_seqs, q_len])
        require(fits, f"position_ids must be [{q_len}] or [{num_seqs}, {q_len}], got {list(position_ids.shape)}")
        states, projections = hidden_states.to(self.q_proj.weight.dtype), (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (project(states).unflatten(-1, (-1, self.head_dim)) for project in projections)
        cos, sin = rope_cos_sin(position_ids, self.inv_freq.to(states.device))
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        if keep is not None:
            # A weight of 0 does not silence a NaN, so padding must not keep its values.
            value = value.masked_fill(~keep[:, past_len:, None, None], 0)
        if past_key_value is not None:
            key = torch.cat((past_key_value[0], key), dim=1)
            value = torch.cat((past_key_value[1], value), dim=1)
        out, _ = causal_attention(query, key, value, past_len, keep)
        output = self.o_proj(out.flatten(-2).to(self.o_proj.weight.dtype)).to(hidden_states.dtype)
        if use_cache or past_key_value is not None:
            return output, None, (key, value)
        return output

    @staticmethod
    def _keep(attention_mask, seq_lens, num_seqs, past_len, q_len, device) -> Tensor | None:
        """The padding mask `[num_seqs, past_len + q_len]`, True at real tokens, from either way to say it."""
        require(attention_mask is None or seq_lens is None, "give attention_mask or seq_lens, not both")
        kv_len = past_len + q_len
        if attention_mask is not None:
            tensor("attention_mask", attention_mask)
            fits = attention_mask.shape == (num_seqs, kv_len)
            fits = fits and not attention_mask.is_floating_point()  # such a mask has 0 at tokens that are seen
            expected = f"[num_seqs={num_seqs}, past_len + q_len={kv_len}], bool or integers"
            require(fits, f"attention_mask must be {expected}", attention_mask)
            return attention_mask.to(device).bool()
        if seq_lens is not None:
            lens = integers("seq_lens", seq_lens, num_seqs, most=q_len)
            ends = torch.tensor(lens, dtype=torch.int64, device=device) + past_len
            return torch.arange(kv_len, device=device) < ends[:, None]
        return None
