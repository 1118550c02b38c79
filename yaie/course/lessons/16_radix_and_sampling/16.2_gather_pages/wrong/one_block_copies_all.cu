// expect: one thread block does all the work
template <typename Unit>
__global__ void all_positions(const Unit* cache, const int64_t* block_table, Unit* out, int block_size, int64_t units,
                              int64_t total) {
    for (int64_t i = threadIdx.x; i < total; i += blockDim.x) {
        const int64_t position = i / units, unit = i % units;
        const int64_t slot = block_table[position / block_size] * block_size + position % block_size;
        out[i] = cache[slot * units + unit];
    }
}

extern "C" int gather_pages(const void* cache, const int64_t* block_table, void* out, int context_len, int block_size,
                            int64_t token_bytes, cudaStream_t stream) {
    if (context_len == 0) return 0;
    return dispatch_unit(token_bytes, [&](auto* type) -> int {
        using Unit = std::remove_pointer_t<decltype(type)>;
        const int64_t units = token_bytes / static_cast<int64_t>(sizeof(Unit));
        all_positions<Unit><<<1, 256, 0, stream>>>(static_cast<const Unit*>(cache), block_table,
                                                   static_cast<Unit*>(out), block_size, units, units * context_len);
        return cudaGetLastError();
    });
}
