// gather_pages from a cache of which the first `missing` blocks have no place in memory.
extern "C" int gather_far_pages(const unsigned* cache, const int64_t* block_table, unsigned* out, int context_len,
                                int block_size, int64_t token_bytes, int64_t missing, cudaStream_t stream) {
    const char* start = reinterpret_cast<const char*>(cache) - missing * block_size * token_bytes;
    return gather_pages(start, block_table, out, context_len, block_size, token_bytes, stream);
}

// gather_pages on a stream that is gone.
extern "C" int gather_pages_too_late(const void* cache, const int64_t* block_table, void* out, int context_len,
                                     int block_size, int64_t token_bytes) {
    cudaStream_t stream;
    cudaStreamCreate(&stream);
    cudaStreamDestroy(stream);
    return gather_pages(cache, block_table, out, context_len, block_size, token_bytes, stream);
}
