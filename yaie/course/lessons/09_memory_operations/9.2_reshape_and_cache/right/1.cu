template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    int64_t slot = slot_mapping[blockIdx.x];
    if (slot >= 0) {
        key += blockIdx.x * units_per_token;
        value += blockIdx.x * units_per_token;
        key_cache += slot * units_per_token;
        value_cache += slot * units_per_token;
        for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
            key_cache[i] = key[i];
            value_cache[i] = value[i];
        }
    }
}
