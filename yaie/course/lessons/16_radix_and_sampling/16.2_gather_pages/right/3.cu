template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    for (int64_t start = 0; start < units_per_token; start += blockDim.x) {
        const int64_t unit = start + threadIdx.x;
        if (unit < units_per_token) {
            const int64_t entry = blockIdx.x / block_size;
            const int64_t slot = block_table[entry] * block_size + (blockIdx.x - entry * block_size);
            out[blockIdx.x * units_per_token + unit] = cache[slot * units_per_token + unit];
        }
    }
}
