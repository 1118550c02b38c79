// Write the keys and values of new tokens into the paged cache, each at the slot that slot_mapping names.
//
// key, value: [num_tokens, token_bytes] (all KV heads of a token, contiguous), any dtype
// key_cache, value_cache: one layer of the pool, [num_blocks * block_size, token_bytes]
// slot_mapping: [num_tokens]; slot = block * block_size + row. A negative slot is skipped: a batch that is padded for a
//     CUDA graph has tokens of no request.
#include "../units.cuh"

// Write the keys and values of token blockIdx.x, each units_per_token units of type `Unit`, to the token's slot; write
// nothing if that is negative. Any number of threads.
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t token = blockIdx.x;
    const int64_t slot = slot_mapping[token];
    if (slot < 0) {
        return;
    }
    for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        key_cache[slot * units_per_token + i] = key[token * units_per_token + i];
        value_cache[slot * units_per_token + i] = value[token * units_per_token + i];
    }
}

extern "C" int reshape_and_cache(const void* key, const void* value, void* key_cache, void* value_cache,
                                 const int64_t* slot_mapping, int num_tokens, int64_t token_bytes,
                                 cudaStream_t stream) {
    if (num_tokens == 0) {
        return cudaSuccess;
    }
    return dispatch_unit(token_bytes, [&](auto* type) -> int {
        using Unit = std::remove_pointer_t<decltype(type)>;
        const int64_t units = token_bytes / static_cast<int64_t>(sizeof(Unit));
        reshape_and_cache_kernel<Unit><<<num_tokens, threads_for(units), 0, stream>>>(
            static_cast<const Unit*>(key), static_cast<const Unit*>(value), static_cast<Unit*>(key_cache),
            static_cast<Unit*>(value_cache), slot_mapping, units);
        return cudaGetLastError();
    });
}
