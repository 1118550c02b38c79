"""What one step of the engine gives to the decoder."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch


@dataclass
class Batch:
    """New tokens of several sequences, packed one sequence after the other without padding.

    The same batch may hold prompts, chunks of prompts and single decoded tokens: a sequence is a run of
    `query_lens[i]` rows, and its pages hold `context_lens[i]` tokens when the step is done. Tensors are int64.
    """

    token_ids: torch.Tensor  # [num_tokens]
    positions: torch.Tensor  # [num_tokens], the true position of each token in its sequence
    slot_mapping: torch.Tensor  # [num_tokens], where its key and value go: block * block_size + row
    block_tables: torch.Tensor  # [num_seqs, max_blocks], padded with 0
    context_lens: torch.Tensor  # [num_seqs], tokens in the pages after this step, the new ones included
    query_lens: list[int]  # new tokens of each sequence, at least 1; on the host
    host_context_lens: list[int] | None = None  # on the host, so that to read them is not to wait for a GPU

    @property
    def lengths(self) -> list[int]:
        """`context_lens` on the host."""
        if self.host_context_lens is None:
            self.host_context_lens = self.context_lens.tolist()
        return self.host_context_lens

    def to(self, device: torch.device) -> "Batch":
        """The same with its tensors on a device."""
        return replace(self, **{name: x.to(device) for name, x in vars(self).items() if isinstance(x, torch.Tensor)})

    def __getstate__(self) -> dict[str, Any]:
        """Pickled as arrays: a step's message to other ranks is small, and torch's way of pickling tensors is not."""
        return {name: x.cpu().numpy() if isinstance(x, torch.Tensor) else x for name, x in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, x in state.items():
            setattr(self, name, torch.from_numpy(x) if isinstance(x, np.ndarray) else x)
