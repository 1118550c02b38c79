// A row of the grid for each page, a warp for each token of it.
template <typename Unit>
__global__ void gather_page(const Unit* cache, const int64_t* block_table, Unit* out, int block_size, int context_len,
                            int64_t units_per_token) {
    const Unit* page = cache + block_table[blockIdx.x] * block_size * units_per_token;
    const int warps = blockDim.x / 32;
    for (int row = threadIdx.x / 32; row < block_size; row += warps) {
        const int64_t position = static_cast<int64_t>(blockIdx.x) * block_size + row;
        if (position >= context_len) {
            return;
        }
        for (int64_t unit = threadIdx.x % 32; unit < units_per_token; unit += 32) {
            out[position * units_per_token + unit] = page[row * units_per_token + unit];
        }
    }
}

extern "C" int gather_pages(const void* cache, const int64_t* block_table, void* out, int context_len, int block_size,
                            int64_t token_bytes, cudaStream_t stream) {
    const int pages = (context_len + block_size - 1) / block_size;
    if (pages > 0) {
        return dispatch_unit(token_bytes, [&](auto* type) -> int {
            using Unit = std::remove_pointer_t<decltype(type)>;
            gather_page<<<pages, 128, 0, stream>>>(static_cast<const Unit*>(cache), block_table,
                                                   static_cast<Unit*>(out), block_size, context_len,
                                                   token_bytes / static_cast<int64_t>(sizeof(Unit)));
            return cudaGetLastError();
        });
    }
    return cudaSuccess;
}
