// expect: most threads of a warp have nothing to do
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t position = blockIdx.x;
    const int64_t slot = block_table[position / block_size] * block_size + position % block_size;
    for (int64_t i = 0; i < units_per_token && threadIdx.x == 0; ++i) {
        out[position * units_per_token + i] = cache[slot * units_per_token + i];
    }
}

extern "C" int gather_pages(const void* cache, const int64_t* block_table, void* out, int context_len, int block_size,
                            int64_t token_bytes, cudaStream_t stream) {
    if (context_len == 0) {
        return cudaSuccess;
    }
    return dispatch_unit(token_bytes, [&](auto* type) -> int {
        using Unit = std::remove_pointer_t<decltype(type)>;
        const int64_t units = token_bytes / static_cast<int64_t>(sizeof(Unit));
        gather_pages_kernel<Unit><<<context_len, threads_for(units), 0, stream>>>(
            static_cast<const Unit*>(cache), block_table, static_cast<Unit*>(out), block_size, units);
        return cudaGetLastError();
    });
}
