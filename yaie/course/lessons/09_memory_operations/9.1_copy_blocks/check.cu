// copy_blocks_kernel with 64 threads in a block, for one layer of caches whose first `missing` blocks have no place in
// memory: what lies behind them is out of reach of 32-bit offsets.
extern "C" int copy_far_blocks(unsigned* key_cache, unsigned* value_cache, const int64_t* block_mapping, int num_pairs,
                               int64_t units, int64_t missing, cudaStream_t stream) {
    copy_blocks_kernel<<<dim3(num_pairs, 1, 2), 64, 0, stream>>>(key_cache - missing * units,
                                                                 value_cache - missing * units, block_mapping,
                                                                 missing + 3, units);
    return cudaGetLastError();
}
