// Several thread blocks for one context (rungs 4 to 6): each writes a partial result, and these are merged, in rung 4 by
// a second kernel, in rungs 5 and 6 by the thread block that ends last, and a context of one split is written at once.
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

// merge_parts by a warp, for a whole row of up to 128 columns, four a lane: `store` gets them with the first one's number.
// Returns the lse of the merged row. Parts are asked for before their weights are known, so that one wait is for both.
template <typename Store>
__device__ __forceinline__ float merge_row(const float* lses, const float* parts, int count, int stride, int head_dim,
                                           Store store) {
    constexpr int BATCH = 8;  // parts that are asked for at a time
    const int lane = threadIdx.x % 32;
    const bool has_columns = 4 * lane < head_dim;
    float largest = -FLT_MAX, total = 0.0f, sum[4] = {};
    for (int first = 0; first < count; first += BATCH) {
        float4 part[BATCH] = {};
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            if (has_columns && first + i < count) {
                part[i] = reinterpret_cast<const float4*>(parts + static_cast<int64_t>(first + i) * stride)[lane];
            }
        }
        if (first == 0) {
            for (int i = lane; i < count; i += 32) {
                largest = fmaxf(largest, lses[i]);
            }
            largest = warp_max(largest);
        }
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            const float weight = first + i < count ? exp2f(lses[first + i] - largest) : 0.0f;
            total += weight;
            sum[0] += weight * part[i].x;
            sum[1] += weight * part[i].y;
            sum[2] += weight * part[i].z;
            sum[3] += weight * part[i].w;
        }
    }
    if (has_columns) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sum[i] /= total;
        }
        store(4 * lane, sum);
    }
    return largest + log2f(total);
}

// Merge `count` parts of a query head, from number `first` on, and write row `row` of out. By a warp.
template <typename T>
__device__ __forceinline__ void merge_head(const Attention<T>& a, int64_t first, int count, int64_t row) {
    T* out = a.out + row * a.head_dim;
    merge_row(a.partial_lse + first, a.partial_out + first * a.head_dim, count, a.head_dim, a.head_dim,
              [&](int d, const float (&merged)[4]) { store_four(out + d, merged); });
}

// This thread block, one of num_blocks, has left its parts of a sequence and head of keys: of `count` parts of each query
// head of the group, one. If it is the last of these blocks, it merges them all. Not inlined, since the compiler would keep
// for it what the loop over keys needs: registers.
template <typename T>
__device__ __noinline__ void merge_splits_if_last(Attention<T> a, int query_token, int kv_head, int count,
                                                     int num_blocks) {
    __shared__ bool is_last;
    int* counter = a.counters + static_cast<int64_t>(blockIdx.z) * a.num_kv_heads + kv_head;
    __threadfence();  // the parts that this thread wrote are there before it counts
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(counter, 1) == num_blocks - 1;
        if (is_last) {
            *counter = 0;
        }
    }
    __syncthreads();
    if (!is_last) {
        return;
    }
    __threadfence();  // the parts of the others are read after the count
    const int group = a.num_heads / a.num_kv_heads;
#pragma unroll 1
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
