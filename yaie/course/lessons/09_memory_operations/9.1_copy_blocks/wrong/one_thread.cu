// expect: most threads of a warp have nothing to do
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    if (threadIdx.x > 0) {
        return;
    }
    const int64_t* pair = block_mapping + 2 * blockIdx.x;
    Unit* cache = (blockIdx.z == 0 ? key_cache : value_cache) + blockIdx.y * num_blocks * units_per_block;
    for (int64_t i = 0; i < units_per_block; ++i) {
        cache[pair[1] * units_per_block + i] = cache[pair[0] * units_per_block + i];
    }
}
