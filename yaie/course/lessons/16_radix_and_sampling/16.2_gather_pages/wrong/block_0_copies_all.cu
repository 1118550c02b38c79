// expect: a thread block copies tokens of other blocks
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    for (int64_t position = 0; position < gridDim.x && blockIdx.x == 0; ++position) {
        const int64_t slot = block_table[position / block_size] * block_size + position % block_size;
        for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
            out[position * units_per_token + i] = cache[slot * units_per_token + i];
        }
    }
}
