template <typename Unit>
__global__ void copy_blocks_kernel(Unit* __restrict__ key_cache, Unit* __restrict__ value_cache,
                                   const int64_t* __restrict__ block_mapping, const int64_t num_blocks,
                                   const int64_t units_per_block) {
    for (unsigned i = threadIdx.x; i < units_per_block; i += blockDim.x) {
        Unit* caches[2] = {key_cache, value_cache};
        Unit* layer = caches[blockIdx.z] + (num_blocks * units_per_block) * blockIdx.y;
        Unit copied = layer[block_mapping[blockIdx.x * 2] * units_per_block + i];
        layer[block_mapping[blockIdx.x * 2 + 1] * units_per_block + i] = copied;
    }
}
