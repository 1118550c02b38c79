// expect: most threads of a warp have nothing to do
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t position = blockIdx.x;
    const int64_t slot = block_table[position / block_size] * block_size + position % block_size;
    for (int64_t i = 0; i < units_per_token && threadIdx.x == 0; ++i) {
        out[position * units_per_token + i] = cache[slot * units_per_token + i];
    }
}
