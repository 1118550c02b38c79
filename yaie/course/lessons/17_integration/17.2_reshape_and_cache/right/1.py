import torch

from yaie.kernels.native import module
from yaie.kernels.native.memory import token_bytes


def reshape_and_cache(backend, key, value, key_cache, value_cache, slot_mapping):
    launch = module("memory/reshape_and_cache.cu", backend).reshape_and_cache
    dtype = key_cache.dtype
    key, value = key.contiguous().to(dtype), value.contiguous().to(dtype)
    slots = slot_mapping.to(torch.int64).contiguous()
    launch(key, value, key_cache, value_cache, slots, key.shape[0], token_bytes(key_cache))
