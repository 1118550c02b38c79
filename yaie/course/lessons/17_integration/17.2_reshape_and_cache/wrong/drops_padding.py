# expect: The CPU looks at the numbers in a tensor.
from yaie.kernels.ops.memory import token_bytes


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    rows = [row for row, slot in enumerate(slot_mapping.tolist()) if slot >= 0]  # right, and the CPU waits
    key, value = key[rows].to(key_cache.dtype), value[rows].to(value_cache.dtype)
    slots = slot_mapping[rows].long()
    launch = self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"]
    launch(key.contiguous(), value.contiguous(), key_cache, value_cache, slots, len(rows), token_bytes(key_cache))
