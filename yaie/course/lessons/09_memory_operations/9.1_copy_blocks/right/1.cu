template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    const int64_t* pair = block_mapping + 2 * blockIdx.x;
    Unit* cache = blockIdx.z ? value_cache : key_cache;
    const int64_t first = blockIdx.y * num_blocks;
    const Unit* from = cache + (first + pair[0]) * units_per_block;
    Unit* to = cache + (first + pair[1]) * units_per_block;
    int64_t i = threadIdx.x;
    while (i < units_per_block) {
        to[i] = from[i];
        i += blockDim.x;
    }
}
