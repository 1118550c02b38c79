// Collect the pages of one request into a contiguous run of tokens, in the order of their positions.
//
// cache: one layer of the pool, [num_blocks, block_size, token_bytes], any dtype
// block_table: the request's blocks, in order; entries beyond context_len are not read
// out: [context_len, token_bytes]
#include "../units.cuh"

// Copy the token at position blockIdx.x of the request, units_per_token units of type `Unit`. Page number i of the
// request is block block_table[i] of the cache; pages have block_size tokens. Any number of threads.
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t position = blockIdx.x;
    const int64_t slot = block_table[position / block_size] * block_size + position % block_size;
    for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
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
