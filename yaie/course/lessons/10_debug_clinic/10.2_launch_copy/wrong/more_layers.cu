// expect: Out-of-bounds
template <typename Unit>
static int launch_copy(void* key_cache, void* value_cache, const int64_t* block_mapping, int num_pairs, int num_layers,
                       int64_t num_blocks, int64_t block_bytes, cudaStream_t stream) {
    if (num_pairs == 0) {
        return cudaSuccess;
    }
    const int64_t units = block_bytes / static_cast<int64_t>(sizeof(Unit));
    const dim3 grid(num_pairs, num_layers > 2 ? num_layers : 2, 2);
    copy_blocks_kernel<Unit><<<grid, threads_for(units), 0, stream>>>(
        static_cast<Unit*>(key_cache), static_cast<Unit*>(value_cache), block_mapping, num_blocks, units);
    return cudaGetLastError();
}
