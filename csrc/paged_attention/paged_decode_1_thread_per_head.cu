// Rung 1 of paged decode: one thread does all the work of a query head.
//
// Neighbouring threads read rows that lie far apart, 2 bytes of each sector of 32 at a time, and the sums do not fit
// into registers. Right, and slow.
//
// Measured on an H100 (README.md): 74.6 ms for 64 requests of 4,096 tokens.
//
// Arguments as problem.cuh says.
#include "problem.cuh"
#include "softmax.cuh"

#include <cfloat>

template <typename T>
__global__ void __launch_bounds__(THREADS) thread_per_head_kernel(Attention<T> a) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= a.num_tiles * a.num_heads) {
        return;
    }
    const int seq = index / a.num_heads;
    const int kv_head = index % a.num_heads / (a.num_heads / a.num_kv_heads);
    const int* block_table = a.block_tables + static_cast<int64_t>(seq) * a.max_blocks;
    const T* query = a.query + static_cast<int64_t>(index) * a.head_dim;
    float sums[MAX_HEAD_DIM];  // indexed at run time, so it lies in local memory, which is global memory
    for (int d = 0; d < a.head_dim; ++d) {
        sums[d] = 0.0f;
    }
    float largest = -FLT_MAX;
    float total = 0.0f;
    for (int position = 0; position < a.context_lens[seq]; ++position) {
        const int64_t slot = slot_of_token(block_table, position, a.block_size);
        const int64_t row = (slot * a.num_kv_heads + kv_head) * a.head_dim;
        float score = 0.0f;
        for (int d = 0; d < a.head_dim; ++d) {
            score += to_float(query[d]) * to_float(a.key_cache[row + d]);
        }
        score *= a.scale;
        const float correction = grow_maximum(score, largest, total);
        const float weight = exp2f(score - largest);
        total += weight;
        for (int d = 0; d < a.head_dim; ++d) {
            sums[d] = sums[d] * correction + weight * to_float(a.value_cache[row + d]);
        }
    }
    for (int d = 0; d < a.head_dim; ++d) {
        a.out[static_cast<int64_t>(index) * a.head_dim + d] = from_float<T>(total > 0.0f ? sums[d] / total : 0.0f);
    }
}

extern "C" int paged_decode_1_thread_per_head(const void* query, const void* key_cache, const void* value_cache,
                                              const int* block_tables, const int* context_lens, void* out,
                                              PagedShape shape, cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, nullptr, out};
    return with_attention(tensors, shape, stream, [](auto a) {
        const int blocks = (a.num_tiles * a.num_heads + THREADS - 1) / THREADS;
        thread_per_head_kernel<<<blocks, THREADS, 0, a.stream>>>(a);
        return cudaGetLastError();
    });
}
