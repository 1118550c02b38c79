template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t token = blockIdx.x;
    const int64_t slot = slot_mapping[token];
    const int64_t units = slot < 0 ? 0 : units_per_token;
    for (int64_t i = threadIdx.x; i < units; i += blockDim.x) {
        key_cache[slot * units + i] = key[token * units + i];
        value_cache[slot * units + i] = value[token * units + i];
    }
}
