// gather_pages_kernel on a cache of which the first `missing` blocks have no place in memory.
extern "C" int gather_far_pages(const unsigned* cache, const int64_t* block_table, unsigned* out, int context_len,
                                int block_size, int64_t units, int64_t missing, cudaStream_t stream) {
    gather_pages_kernel<<<context_len, 32, 0, stream>>>(cache - missing * block_size * units, block_table, out,
                                                       block_size, units);
    return cudaGetLastError();
}
