# expect: key_cache[1][1][0][0] holds `value[0][0][0]`; `key[0][0][0]` belongs there.
from yaie.kernels.ops.memory import token_bytes


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    key, value = value.to(key_cache.dtype).contiguous(), key.to(value_cache.dtype).contiguous()
    launcher = self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"]
    launcher(key, value, key_cache, value_cache, slot_mapping.long(), len(key), token_bytes(key_cache))
