// Several thread blocks for one context (rungs 4 to 6): each writes a partial result, and a second kernel merges them
// (in rung 6 the last thread block does).
//
// num_splits does not depend on what lies in device memory, so that a CUDA graph stays right when contexts grow: a
// split takes split_tokens keys, or more where the context does not fit into num_splits; splits beyond it return.
#pragma once
#include "grouped.cuh"

// The splits of a context that had keys, or the one that says that there are none.
template <typename T>
__device__ __forceinline__ int splits_of(const Attention<T>& a, int context_len) {
    const int split_len = keys_per_split(a, context_len);
    return max(1, (context_len + split_len - 1) / split_len);
}

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

// Call `launch`, which attends to the splits of every context.
template <typename F>
static int with_splits(const PagedTensors& tensors, float* partial_out, float* partial_lse, const PagedShape& shape,
                       cudaStream_t stream, F launch) {
    if (shape.num_splits < 1 || shape.split_tokens < 1) {
        return cudaErrorInvalidValue;
    }
    return with_attention(tensors, shape, stream, [&](auto a) -> int {
        a.partial_out = partial_out;
        a.partial_lse = partial_lse;
        a.num_splits = shape.num_splits;
        return launch(a);
    });
}

// The same, and merge them.
template <typename F>
static int launch_split(const PagedTensors& tensors, float* partial_out, float* partial_lse, const PagedShape& shape,
                        cudaStream_t stream, F launch) {
    return with_splits(tensors, partial_out, partial_lse, shape, stream, [&](const auto& a) -> int {
        const int error = launch(a);
        if (error != cudaSuccess || a.num_splits == 1) {
            return error;
        }
        merge_splits_kernel<<<a.num_tiles * a.num_heads, THREADS, 0, a.stream>>>(a);
        return cudaGetLastError();
    });
}
