template <typename Unit>
__device__ void copy_units(const Unit* from, Unit* to, int64_t n) {
    int64_t i = threadIdx.x;
    while (i < n) {
        to[i] = from[i];
        i += blockDim.x;
    }
}

template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t p = blockIdx.x;
    const int64_t block = block_table[p / block_size];
    copy_units(cache + block * block_size * units_per_token + p % block_size * units_per_token,
               out + p * units_per_token, units_per_token);
}
