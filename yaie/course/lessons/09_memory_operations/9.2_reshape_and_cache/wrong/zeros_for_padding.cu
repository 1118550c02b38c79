// expect: Slot 0 was filled with zeros
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t token = blockIdx.x;
    const int64_t slot = slot_mapping[token];
    if (slot < 0) {
        for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
            key_cache[i] = Unit{};
            value_cache[i] = Unit{};
        }
        return;
    }
    for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        key_cache[slot * units_per_token + i] = key[token * units_per_token + i];
        value_cache[slot * units_per_token + i] = value[token * units_per_token + i];
    }
}
