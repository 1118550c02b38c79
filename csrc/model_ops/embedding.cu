// Fetch the row of the embedding table for every token of a batch.
//
// table: [vocab_size, row_bytes], any dtype; token_ids: [num_tokens]; out: [num_tokens, row_bytes]
// A token id outside the table gives a row of bits that are all 1, which is NaN in every float type: a wrong id is seen
// in the result, and nothing is read from where it points.
#include <cuda_runtime.h>
#include <stdint.h>

template <typename Unit>
__device__ Unit all_ones() {
    return static_cast<Unit>(~Unit(0));
}
template <>
__device__ uint4 all_ones<uint4>() {
    return make_uint4(~0u, ~0u, ~0u, ~0u);
}

// Thread block t fetches the row of token t: its threads share the units of the row.
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

template <typename Unit>
static int launch_embedding(const void* table, const int64_t* token_ids, void* out, int num_tokens, int64_t vocab_size,
                            int64_t row_bytes, cudaStream_t stream) {
    if (num_tokens == 0 || row_bytes == 0) {
        return cudaSuccess;
    }
    const int64_t units = row_bytes / static_cast<int64_t>(sizeof(Unit));
    const int threads = units < 256 ? static_cast<int>((units + 31) / 32 * 32) : 256;
    embedding_kernel<Unit><<<num_tokens, threads, 0, stream>>>(static_cast<const Unit*>(table), token_ids,
                                                               static_cast<Unit*>(out), vocab_size, units);
    return cudaGetLastError();
}

// In the widest units that divide a row: 16 bytes for every usual hidden size.
extern "C" int embedding(const void* table, const int64_t* token_ids, void* out, int num_tokens, int64_t vocab_size,
                         int64_t row_bytes, cudaStream_t stream) {
    auto fetch = launch_embedding<uint8_t>;
    if (row_bytes % 16 == 0 && reinterpret_cast<uintptr_t>(table) % 16 == 0) {
        fetch = launch_embedding<uint4>;
    } else if (row_bytes % 4 == 0) {
        fetch = launch_embedding<uint32_t>;
    } else if (row_bytes % 2 == 0) {
        fetch = launch_embedding<uint16_t>;
    }
    return fetch(table, token_ids, out, num_tokens, vocab_size, row_bytes, stream);
}
