template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t position = blockIdx.x;
    const int64_t entry = position / block_size;
    const int64_t slot = (block_table[entry] - entry) * block_size + position;
    for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        out[position * units_per_token + i] = cache[slot * units_per_token + i];
    }
}
