import torch

from yaie.kernels.ops.memory import token_bytes


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    launch = self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"]
    dtype = key_cache.dtype
    key, value = key.contiguous().to(dtype), value.contiguous().to(dtype)
    slots = slot_mapping.to(torch.int64).contiguous()
    launch(key, value, key_cache, value_cache, slots, key.shape[0], token_bytes(key_cache))
