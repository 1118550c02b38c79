// expect: units are copied more than once
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    Unit* layer = (blockIdx.z == 0 ? key_cache : value_cache) + blockIdx.y * num_blocks * units_per_block;
    const Unit* from = layer + block_mapping[2 * blockIdx.x] * units_per_block;
    Unit* to = layer + block_mapping[2 * blockIdx.x + 1] * units_per_block;
    for (int64_t i = threadIdx.x; i < units_per_block; i += blockDim.x) {
        to[i] = from[i];
        to[i] = from[i];
    }
}
