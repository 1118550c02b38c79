// expect: what is special about this one?
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int page = blockIdx.x / block_size, row = blockIdx.x % block_size;
    const Unit* from = cache + (block_table[page] * block_size + row) * units_per_token;
    Unit* to = out + static_cast<int64_t>(blockIdx.x) * units_per_token;
    for (int i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        to[i] = from[i];
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
        gather_pages_kernel<Unit><<<dim3(context_len), dim3(128), 0, stream>>>(
            static_cast<const Unit*>(cache), block_table, static_cast<Unit*>(out), block_size, units);
        return 0;
    });
}
