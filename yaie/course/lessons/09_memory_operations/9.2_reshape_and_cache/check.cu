// The check calls reshape_and_cache, too.

// reshape_and_cache_kernel with 64 threads in a block, for caches whose first `missing` slots have no place in memory.
extern "C" int reshape_and_cache_far(const unsigned* key, const unsigned* value, unsigned* key_cache,
                                     unsigned* value_cache, const int64_t* slot_mapping, int num_tokens, int64_t units,
                                     int64_t missing, cudaStream_t stream) {
    reshape_and_cache_kernel<<<num_tokens, 64, 0, stream>>>(key, value, key_cache - missing * units,
                                                            value_cache - missing * units, slot_mapping, units);
    return cudaGetLastError();
}
