// expect: elements of 16 bytes are stored in smaller pieces
template <typename Unit>
__global__ void copy_token(const Unit* cache, const int64_t* block_table, Unit* out, int block_size, int64_t units) {
    const int64_t position = blockIdx.x;
    const int64_t slot = block_table[position / block_size] * block_size + position % block_size;
    for (int64_t i = threadIdx.x; i < units; i += blockDim.x) out[position * units + i] = cache[slot * units + i];
}

extern "C" int gather_pages(const void* cache, const int64_t* block_table, void* out, int context_len, int block_size,
                            int64_t token_bytes, cudaStream_t stream) {
    if (context_len == 0) return 0;
    if (token_bytes % 4 == 0) {
        copy_token<<<context_len, 256, 0, stream>>>(static_cast<const unsigned*>(cache), block_table,
                                                    static_cast<unsigned*>(out), block_size, token_bytes / 4);
    } else {
        copy_token<<<context_len, 256, 0, stream>>>(static_cast<const char*>(cache), block_table,
                                                    static_cast<char*>(out), block_size, token_bytes);
    }
    return cudaGetLastError();
}
