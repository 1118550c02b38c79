// expect: bytes are moved for nothing
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t token = blockIdx.x, slot = slot_mapping[token];
    if (slot < 0) {
        return;
    }
    const int64_t each = (units_per_token + blockDim.x - 1) / blockDim.x;
    for (int64_t i = threadIdx.x * each; i < (threadIdx.x + 1) * each && i < units_per_token; ++i) {
        key_cache[slot * units_per_token + i] = key[token * units_per_token + i];
        value_cache[slot * units_per_token + i] = value[token * units_per_token + i];
    }
}
