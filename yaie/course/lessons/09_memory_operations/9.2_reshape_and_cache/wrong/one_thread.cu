// expect: most threads of a warp have nothing to do
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t token = blockIdx.x, slot = slot_mapping[token];
    if (slot < 0) {
        return;
    }
    for (int64_t i = 0; threadIdx.x == 0 && i < units_per_token; ++i) {
        key_cache[slot * units_per_token + i] = key[token * units_per_token + i];
        value_cache[slot * units_per_token + i] = value[token * units_per_token + i];
    }
}
