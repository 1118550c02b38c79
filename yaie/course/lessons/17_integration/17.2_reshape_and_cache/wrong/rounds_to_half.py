# expect: large and negative numbers
from yaie.kernels.ops.memory import token_bytes


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    key, value = (x.half().to(key_cache.dtype).contiguous() for x in (key, value))
    launch = self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"]
    launch(key, value, key_cache, value_cache, slot_mapping.long(), len(slot_mapping), token_bytes(key_cache))
