import torch

LAUNCHER = "memory/reshape_and_cache.cu", "reshape_and_cache"


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    num_tokens = len(slot_mapping)
    flat_key = key.to(key_cache.dtype).reshape(num_tokens, -1).contiguous()
    flat_value = value.to(value_cache.dtype).reshape(num_tokens, -1).contiguous()
    arguments = dict(key=flat_key, value=flat_value, key_cache=key_cache, value_cache=value_cache)
    self.launch[LAUNCHER](
        **arguments,
        slot_mapping=slot_mapping.type(torch.long).contiguous(),
        num_tokens=num_tokens,
        token_bytes=flat_key.shape[1] * flat_key.element_size(),
    )
