// Several thread blocks for one context (rungs 4 to 6): each writes a partial result, and these are merged, in rung 4 by
// a second kernel, in rungs 5 and 6 by the thread block that ends last. A context of one split is written at once.
//
// num_splits does not depend on what lies in device memory, so that a CUDA graph stays right when contexts grow: a
// split takes split_tokens keys, or more where the context does not fit into num_splits; splits beyond it return.
#pragma once
#include "problem.cuh"
#include "softmax.cuh"

#include <cfloat>

// Keys of a split: at least split_tokens, and so many that num_splits splits hold the context.
template <typename T>
__device__ __forceinline__ int keys_per_split(const Attention<T>& a, int context_len) {
    return max(a.split_tokens, (context_len + a.num_splits - 1) / a.num_splits);
}

// The splits of a context that have keys, or the one that says that there are none.
template <typename T>
__device__ __forceinline__ int splits_of(const Attention<T>& a, int context_len) {
    const int split_len = keys_per_split(a, context_len);
    return max(1, (context_len + split_len - 1) / split_len);
}

// ---- by a second kernel

// Merge the splits of a query head. Thread block b has query head b % num_heads of tile b / num_heads.
template <typename T>
__global__ void __launch_bounds__(THREADS) merge_splits_kernel(Attention<T> a) {
    const int4 tile = tile_of(a, blockIdx.x / a.num_heads);
    const int64_t row = static_cast<int64_t>(tile.y) * a.num_heads + blockIdx.x % a.num_heads;
    const int count = splits_of(a, tile.w);
    if (count == 1) {
        return;
    }
    const float* lses = a.partial_lse + static_cast<int64_t>(blockIdx.x) * a.num_splits;
    const float* parts = a.partial_out + static_cast<int64_t>(blockIdx.x) * a.num_splits * a.head_dim;
    for (int d = threadIdx.x; d < a.head_dim; d += THREADS) {
        float lse;
        a.out[row * a.head_dim + d] = from_float<T>(merge_parts(lses, parts + d, count, a.head_dim, lse));
    }
}

// ---- by the thread block that ends last

// Four columns, rounded to T. `to` is aligned for all of them together.
template <typename T>
__device__ __forceinline__ void store_four(T* to, const float (&x)[4]) {
    if constexpr (sizeof(T) == 4) {
        *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            to[i] = from_float<T>(x[i]);
        }
    }
}

// merge_parts by a warp, for a whole row: four columns a lane at a time, which `store` gets with the first of them.
// Returns the lse of the merged row.
template <typename Store>
__device__ __forceinline__ float merge_row(const float* lses, const float* parts, int count, int stride, int head_dim,
                                           Store store) {
    const int lane = threadIdx.x % 32;
    float largest = -FLT_MAX;
    for (int i = lane; i < count; i += 32) {
        largest = fmaxf(largest, lses[i]);
    }
    largest = warp_max(largest);
    float total = 0.0f;  // of the last four columns, as of any
    for (int d = 4 * lane; d < head_dim; d += 4 * 32) {
        total = 0.0f;
        float sum[4] = {};
#pragma unroll 4
        for (int i = 0; i < count; ++i) {
            const float weight = exp2f(lses[i] - largest);
            const float4 part = *reinterpret_cast<const float4*>(parts + static_cast<int64_t>(i) * stride + d);
            total += weight;
            sum[0] += weight * part.x;
            sum[1] += weight * part.y;
            sum[2] += weight * part.z;
            sum[3] += weight * part.w;
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sum[i] /= total;
        }
        store(d, sum);
    }
    return largest + log2f(__shfl_sync(FULL_WARP, total, 0));
}

// Merge `count` parts of a query head, from number `first` on, and write row `row` of out. By a warp.
template <typename T>
__device__ __forceinline__ void merge_head(const Attention<T>& a, int64_t first, int count, int64_t row) {
    T* out = a.out + row * a.head_dim;
    merge_row(a.partial_lse + first, a.partial_out + first * a.head_dim, count, a.head_dim, a.head_dim,
              [&](int d, const float (&merged)[4]) { store_four(out + d, merged); });
}

// This thread block has left its parts of up to MOST sequences. Thread i has the counter of sequence i (else null), and
// the number of thread blocks that leave parts of it. Says of each whether this block was the last of them. Then all
// parts can be read, and the counter is 0 again.
template <int MOST>
__device__ __forceinline__ void count_block(int* counter, int expected, bool (&was_last)[MOST]) {
    __threadfence();  // the parts that this thread wrote are there before it counts
    __syncthreads();
    if (counter) {
        const bool last = atomicAdd(counter, 1) == expected - 1;
        was_last[threadIdx.x] = last;
        if (last) {
            *counter = 0;
        }
    }
    __syncthreads();
    __threadfence();  // the parts of the others are read after the count
}

// Count this thread block, which had a split of a sequence, and if it is the last one of the sequence and head of keys,
// merge the splits of all query heads of the group.
template <typename T>
__device__ __forceinline__ void merge_splits_if_last(const Attention<T>& a, int query_token, int kv_head, int count) {
    __shared__ bool was_last[1];
    const int row_blocks = gridDim.x / a.num_kv_heads, group = a.num_heads / a.num_kv_heads;
    const int64_t counter = static_cast<int64_t>(blockIdx.z) * a.num_kv_heads + kv_head;
    count_block(threadIdx.x == 0 ? a.counters + counter : nullptr, count * row_blocks, was_last);
    if (!was_last[0]) {
        return;
    }
    for (int i = threadIdx.x / 32; i < group; i += WARPS) {
        const int head = kv_head * group + i;
        const int64_t first = (static_cast<int64_t>(blockIdx.z) * a.num_heads + head) * a.num_splits;
        merge_head(a, first, count, static_cast<int64_t>(query_token) * a.num_heads + head);
    }
}

// ---- launches

// Call `launch`, which attends to the splits of every context, and merges them if there are counters.
template <typename F>
static int with_splits(const PagedTensors& tensors, float* partial_out, float* partial_lse, int* counters,
                       const PagedShape& shape, cudaStream_t stream, F launch) {
    if (shape.num_splits < 1 || shape.split_tokens < 1) {
        return cudaErrorInvalidValue;
    }
    return with_attention(tensors, shape, stream, [&](auto a) -> int {
        a.partial_out = partial_out;
        a.partial_lse = partial_lse;
        a.counters = counters;
        a.num_splits = shape.num_splits;
        return launch(a);
    });
}
