template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t slot = slot_mapping[blockIdx.x];
    const bool skip = slot <= -1;
    for (int64_t i = threadIdx.x; !skip && i < units_per_token; i += blockDim.x) {
        const int64_t from = static_cast<int64_t>(blockIdx.x) * units_per_token + i;
        const int64_t to = slot * units_per_token + i;
        const Unit k = key[from], v = value[from];
        key_cache[to] = k;
        value_cache[to] = v;
    }
}
