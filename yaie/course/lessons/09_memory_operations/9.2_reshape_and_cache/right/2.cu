template <typename Unit>
__device__ void write_row(Unit* cache, const Unit* rows, int64_t slot, int64_t n) {
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        cache[slot * n + i] = rows[blockIdx.x * n + i];
    }
}

template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    if (slot_mapping[blockIdx.x] < 0) return;
    write_row(key_cache, key, slot_mapping[blockIdx.x], units_per_token);
    write_row(value_cache, value, slot_mapping[blockIdx.x], units_per_token);
}
