# expect: num_tokens of the launch
from yaie.kernels.ops.memory import token_bytes


def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
    launch = self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"]
    key, value = key.to(key_cache.dtype).contiguous(), value.to(value_cache.dtype).contiguous()
    for i in range(len(slot_mapping)):
        slot = slot_mapping[i : i + 1].long()
        launch(key[i], value[i], key_cache, value_cache, slot, 1, token_bytes(key_cache))
