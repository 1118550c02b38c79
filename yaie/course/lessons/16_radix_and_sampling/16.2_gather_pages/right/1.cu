template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int page = blockIdx.x / block_size, row = blockIdx.x % block_size;
    const Unit* from = cache + (block_table[page] * block_size + row) * units_per_token;
    Unit* to = out + static_cast<int64_t>(blockIdx.x) * units_per_token;
    for (int i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        to[i] = from[i];
    }
}
