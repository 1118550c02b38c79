// expect: the warps do not share the work
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    const int64_t source = block_mapping[2 * blockIdx.x], target = block_mapping[2 * blockIdx.x + 1];
    Unit* layer = (blockIdx.z == 0 ? key_cache : value_cache) + blockIdx.y * num_blocks * units_per_block;
    if (threadIdx.x < 32) {
        for (int64_t i = threadIdx.x; i < units_per_block; i += 32) {
            layer[target * units_per_block + i] = layer[source * units_per_block + i];
        }
    }
}
