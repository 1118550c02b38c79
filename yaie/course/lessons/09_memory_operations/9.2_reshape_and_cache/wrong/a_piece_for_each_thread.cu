// expect: bytes are moved for nothing
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t slot = slot_mapping[blockIdx.x];
    if (slot < 0) {
        return;
    }
    const int64_t threads = blockDim.x / 8, piece = (units_per_token + threads - 1) / threads;
    for (int64_t i = threadIdx.x * piece; i < (threadIdx.x + 1) * piece && i < units_per_token; ++i) {
        key_cache[slot * units_per_token + i] = key[blockIdx.x * units_per_token + i];
        value_cache[slot * units_per_token + i] = value[blockIdx.x * units_per_token + i];
    }
}
