// One thread for each unit of all tokens, whatever block it falls into.
template <typename Unit>
__global__ void gather_units(const Unit* cache, const int64_t* table, Unit* out, int block_size, int64_t units,
                             int64_t total) {
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total; i += stride) {
        const int64_t position = i / units;
        const int64_t slot = table[position / block_size] * block_size + position % block_size;
        out[i] = cache[slot * units + i % units];
    }
}

template <typename Unit>
static cudaError_t start(const void* cache, const int64_t* table, void* out, int context_len, int block_size,
                         int64_t token_bytes, cudaStream_t stream) {
    const int64_t units = token_bytes / sizeof(Unit), total = units * context_len;
    const int64_t blocks = (total + 255) / 256;
    if (blocks == 0) return cudaSuccess;
    gather_units<Unit><<<blocks < 4096 ? blocks : 4096, 256, 0, stream>>>(
        static_cast<const Unit*>(cache), table, static_cast<Unit*>(out), block_size, units, total);
    return cudaGetLastError();
}

extern "C" int gather_pages(const void* cache, const int64_t* block_table, void* out, int context_len, int block_size,
                            int64_t token_bytes, cudaStream_t stream) {
    if (token_bytes % 16 == 0) {
        return start<uint4>(cache, block_table, out, context_len, block_size, token_bytes, stream);
    }
    return start<uint8_t>(cache, block_table, out, context_len, block_size, token_bytes, stream);
}
