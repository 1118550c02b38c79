"""What one step of the engine gives to the decoder."""

from dataclasses import dataclass

import torch


@dataclass
class Batch:
    """New tokens of several sequences, packed one sequence after the other without padding.

    The same batch may hold prompts, chunks of prompts and single decoded tokens: a sequence is a run of
    `query_lens[i]` rows, and its pages hold `context_lens[i]` tokens when the step is done.

    Attributes:
        token_ids: `[num_tokens]`, int64.
        positions: `[num_tokens]`, int64, the true position of each token in its sequence.
        slot_mapping: `[num_tokens]`, int64, where the token's key and value go: `block * block_size + row`.
        block_tables: `[num_seqs, max_blocks]`, int64, padded with 0.
        context_lens: `[num_seqs]`, int64, tokens in the pages after this step, the new ones included.
        query_lens: new tokens of each sequence, at least 1; they sum to `num_tokens`. On the host.
        host_context_lens: `context_lens` on the host, so that to read them is not to wait for a GPU.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    slot_mapping: torch.Tensor
    block_tables: torch.Tensor
    context_lens: torch.Tensor
    query_lens: list[int]
    host_context_lens: list[int] | None = None

    @property
    def lengths(self) -> list[int]:
        """`context_lens` on the host."""
        if self.host_context_lens is None:
            self.host_context_lens = self.context_lens.tolist()
        return self.host_context_lens
