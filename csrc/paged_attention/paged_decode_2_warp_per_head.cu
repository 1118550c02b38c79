// Rung 2 of paged decode: a warp per query head, its lanes at consecutive elements of head_dim.
//
// What changed: a row is read in whole sectors, and the sums stay in registers. It is still one key at a time: the next
// load waits for a dot product of five shuffles, and each head of a group reads the same keys.
//
// What it did gain on an H100 (README.md): 17 times the speed of rung 1.
//
// Arguments as problem.cuh says.
#include "problem.cuh"
#include "softmax.cuh"

#include <cfloat>

constexpr int DIMS_PER_LANE = MAX_HEAD_DIM / 32;

// The dot product of a query and a key [head_dim], in every lane. Lane l holds the elements l, l + 32, l + 64, ... of
// the query, in query[0], query[1], ..., query[DIMS_PER_LANE - 1] (0 beyond head_dim), so that a warp reads 32
// neighbouring elements of the key at a time. Nothing behind the key is read. All lanes must call it.
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < DIMS_PER_LANE; ++i) {
        const int d = threadIdx.x % 32 + 32 * i;
        if (d < head_dim) {
            sum += query[i] * to_float(key[d]);
        }
    }
    return warp_sum(sum);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) warp_per_head_kernel(Attention<T> a) {
    const int index = blockIdx.x * WARPS + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (index >= a.num_tiles * a.num_heads) {
        return;  // the whole warp
    }
    const int seq = index / a.num_heads;
    const int kv_head = index % a.num_heads / (a.num_heads / a.num_kv_heads);
    const int* block_table = a.block_tables + static_cast<int64_t>(seq) * a.max_blocks;
    const int64_t first = static_cast<int64_t>(index) * a.head_dim;
    float query[DIMS_PER_LANE];
    float sums[DIMS_PER_LANE] = {};
#pragma unroll
    for (int i = 0; i < DIMS_PER_LANE; ++i) {
        const int d = lane + 32 * i;
        query[i] = d < a.head_dim ? to_float(a.query[first + d]) * a.scale : 0.0f;
    }
    float largest = -FLT_MAX;
    float total = 0.0f;
    for (int position = 0; position < a.context_lens[seq]; ++position) {
        const int64_t slot = slot_of_token(block_table, position, a.block_size);
        const int64_t row = (slot * a.num_kv_heads + kv_head) * a.head_dim;
        const float score = warp_dot(query, a.key_cache + row, a.head_dim);
        const float correction = grow_maximum(score, largest, total);
        const float weight = exp2f(score - largest);
        total += weight;
#pragma unroll
        for (int i = 0; i < DIMS_PER_LANE; ++i) {
            const int d = lane + 32 * i;
            if (d < a.head_dim) {
                sums[i] = sums[i] * correction + weight * to_float(a.value_cache[row + d]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < DIMS_PER_LANE; ++i) {
        const int d = lane + 32 * i;
        if (d < a.head_dim) {
            a.out[first + d] = from_float<T>(total > 0.0f ? sums[i] / total : 0.0f);
        }
    }
}

extern "C" int paged_decode_2_warp_per_head(const void* query, const void* key_cache, const void* value_cache,
                                            const int* block_tables, const int* context_lens, void* out,
                                            PagedShape shape, cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, nullptr, out};
    return with_attention(tensors, shape, stream, [](auto a) {
        const int blocks = (a.num_tiles * a.num_heads + WARPS - 1) / WARPS;
        warp_per_head_kernel<<<blocks, THREADS, 0, a.stream>>>(a);
        return cudaGetLastError();
    });
}
