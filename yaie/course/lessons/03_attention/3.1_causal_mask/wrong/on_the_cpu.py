# expect: The mask was made on the CPU.
import torch


def causal_mask(q_len, kv_len, offset, device=None):
    return torch.arange(kv_len)[None, :] <= torch.arange(offset, offset + q_len)[:, None]
