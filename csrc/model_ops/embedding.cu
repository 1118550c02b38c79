// Fetch the row of the embedding table for every token of a batch.
//
// table: [vocab_size, row_bytes], any dtype; token_ids: [num_tokens]; out: [num_tokens, row_bytes]
// A token id outside the table gives a row of bits that are all 1, which is NaN in every float type: a wrong id is seen
// in the result, and nothing is read from where it points.
#include "../units.cuh"

template <typename Unit>
__device__ Unit all_ones() {
    return static_cast<Unit>(~Unit(0));
}
template <>
__device__ uint4 all_ones<uint4>() {
    return make_uint4(~0u, ~0u, ~0u, ~0u);
}

// Fetch the row of token blockIdx.x, units_per_row units of type `Unit`. Any number of threads.
template <typename Unit>
__global__ void embedding_kernel(const Unit* table, const int64_t* token_ids, Unit* out, int64_t vocab_size,
                                 int64_t units_per_row) {
    const int64_t token = blockIdx.x;
    const int64_t id = token_ids[token];
    const bool known = 0 <= id && id < vocab_size;
    for (int64_t i = threadIdx.x; i < units_per_row; i += blockDim.x) {
        out[token * units_per_row + i] = known ? table[id * units_per_row + i] : all_ones<Unit>();
    }
}

extern "C" int embedding(const void* table, const int64_t* token_ids, void* out, int num_tokens, int64_t vocab_size,
                         int64_t row_bytes, cudaStream_t stream) {
    if (num_tokens == 0 || row_bytes == 0) {
        return cudaSuccess;
    }
    // A table may be a view that begins anywhere: its address must be a multiple of the unit as well.
    const int64_t multiple = row_bytes | static_cast<int64_t>(reinterpret_cast<uintptr_t>(table) % 16);
    return dispatch_unit(multiple, [&](auto* type) -> int {
        using Unit = std::remove_pointer_t<decltype(type)>;
        const int64_t units = row_bytes / static_cast<int64_t>(sizeof(Unit));
        embedding_kernel<Unit><<<num_tokens, threads_for(units), 0, stream>>>(
            static_cast<const Unit*>(table), token_ids, static_cast<Unit*>(out), vocab_size, units);
        return cudaGetLastError();
    });
}
