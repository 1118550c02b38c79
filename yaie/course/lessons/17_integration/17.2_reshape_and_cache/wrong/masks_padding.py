# expect: the number of rows in a mask
from yaie.kernels.ops.memory import token_bytes


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    real = slot_mapping >= 0
    key, value, slots = key[real].to(key_cache.dtype), value[real].to(value_cache.dtype), slot_mapping[real].long()
    launch = self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"]
    launch(key, value, key_cache, value_cache, slots, len(slots), token_bytes(key_cache))
