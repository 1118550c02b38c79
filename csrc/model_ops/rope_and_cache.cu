// From the product with the query, key and value weights to the paged cache, in one launch: norm the heads of query and
// key, turn them to their token's position, store key and value in the token's slot, and write the query for attention.
// The same with a launch for each (rms_norm.cu, rope.cu, memory/reshape_and_cache.cu) reads and writes each head three
// times, and what a launch costs is most of a decode step of a small batch.
//
// heads: [num_tokens, num_heads + 2 * num_kv_heads, head_dim]: of query, then of key, then of value, as the product
//     wrote them
// q_weight, k_weight: [head_dim], of the norms; both null where the model has none
// cos, sin: [num_tokens, head_dim / 2], float
// key_cache, value_cache: one layer of the pool, [num_blocks * block_size, num_kv_heads, head_dim]
// slot_mapping: [num_tokens]; a negative slot is padding, of which nothing is stored
// query: [num_tokens, num_heads, head_dim]
//
// Arithmetic is in float, and rounded where the separate kernels round: after the quotient of the norm, after its
// product with the weight, and after the rotation.
#include "packs.cuh"

constexpr int THREADS = 256, MOST_HEAD_DIM = 256;

struct HeadsShape {
    int num_heads, num_kv_heads, head_dim;
    int lanes;  // of a warp that share a head: a power of 2
    float eps;
};

// N floats, at most 16 bytes in one access.
template <int N>
__device__ Pack<float, N> floats_at(const float* from) {
    constexpr int WIDTH = N < 4 ? N : 4;
    Pack<float, N> result;
    for (int i = 0; i < N; i += WIDTH) {
        *reinterpret_cast<Pack<float, WIDTH>*>(result.at + i) = *reinterpret_cast<const Pack<float, WIDTH>*>(from + i);
    }
    return result;
}

// The heads of token blockIdx.x, `lanes` threads for each; where these are more than a thread block has, the part of
// them that is blockIdx.y's. A thread has pairs of a pack of the first half of its head and one of the second, which
// turn together, and keeps them in registers from the reading to the writing.
template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
rope_and_cache_kernel(const T* heads, const T* q_weight, const T* k_weight, const float* cos, const float* sin,
                      T* key_cache, T* value_cache, const int64_t* slot_mapping, T* query, HeadsShape shape) {
    constexpr int MOST_PAIRS = N == 1 ? MOST_HEAD_DIM / 2 / 32 : 1;  // of a thread
    const int64_t token = blockIdx.x;
    const int half = shape.head_dim / 2, pairs = half / N, lane = threadIdx.x % shape.lanes;
    const int num_turning = shape.num_heads + shape.num_kv_heads, all = num_turning + shape.num_kv_heads;
    const int head = (blockIdx.y * blockDim.x + threadIdx.x) / shape.lanes;
    const T* from = heads + (token * all + head) * shape.head_dim;
    Pack<T, N> first[MOST_PAIRS], second[MOST_PAIRS];
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < MOST_PAIRS; ++j) {
        const int pair = lane + j * shape.lanes;
        if (head < all && pair < pairs) {
            first[j] = *reinterpret_cast<const Pack<T, N>*>(from + pair * N);
            second[j] = *reinterpret_cast<const Pack<T, N>*>(from + half + pair * N);
            sum += sum_of_squares(first[j]) + sum_of_squares(second[j]);
        }
    }
    const T* weight = head < shape.num_heads ? q_weight : k_weight;
    float scale = 0.0f;
    if (q_weight != nullptr) {  // for all threads or for none
        for (int distance = shape.lanes / 2; distance > 0; distance /= 2) {
            sum += __shfl_xor_sync(FULL_WARP, sum, distance);
        }
        scale = rsqrtf(sum / shape.head_dim + shape.eps);
    }
    const bool is_query = head < shape.num_heads, is_key = !is_query && head < num_turning;
    const int64_t slot = is_query ? 0 : slot_mapping[token];
    if (head >= all || slot < 0) {
        return;
    }
    T* to = is_query ? query + (token * shape.num_heads + head) * shape.head_dim
            : is_key ? key_cache + (slot * shape.num_kv_heads + head - shape.num_heads) * shape.head_dim
                     : value_cache + (slot * shape.num_kv_heads + head - num_turning) * shape.head_dim;
#pragma unroll
    for (int j = 0; j < MOST_PAIRS; ++j) {
        const int pair = lane + j * shape.lanes;
        if (pair >= pairs) {
            continue;
        }
        if (head < num_turning) {
            if (q_weight != nullptr) {
                first[j] = scaled(first[j], scale, *reinterpret_cast<const Pack<T, N>*>(weight + pair * N));
                second[j] = scaled(second[j], scale, *reinterpret_cast<const Pack<T, N>*>(weight + half + pair * N));
            }
            const Pack<float, N> c = floats_at<N>(cos + token * half + pair * N);
            const Pack<float, N> s = floats_at<N>(sin + token * half + pair * N);
            for (int e = 0; e < N; ++e) {
                const float a = to_float(first[j].at[e]), b = to_float(second[j].at[e]);
                first[j].at[e] = from_float<T>(a * c.at[e] - b * s.at[e]);
                second[j].at[e] = from_float<T>(b * c.at[e] + a * s.at[e]);
            }
        }
        *reinterpret_cast<Pack<T, N>*>(to + pair * N) = first[j];
        *reinterpret_cast<Pack<T, N>*>(to + half + pair * N) = second[j];
    }
}

extern "C" int rope_and_cache(const void* heads, const void* q_weight, const void* k_weight, const float* cos,
                              const float* sin, void* key_cache, void* value_cache, const int64_t* slot_mapping,
                              void* query, int num_tokens, int num_heads, int num_kv_heads, int head_dim, float eps,
                              int dtype, cudaStream_t stream) {
    if (head_dim % 2 != 0 || head_dim > MOST_HEAD_DIM) {
        return cudaErrorInvalidValue;
    }
    if (num_tokens == 0 || head_dim == 0) {
        return cudaSuccess;
    }
    bool wide = head_dim / 2 * (dtype == DTYPE_FLOAT32 ? 4 : 2) % 16 == 0;
    for (const void* each : {heads, q_weight, k_weight, static_cast<const void*>(cos), static_cast<const void*>(sin),
                             const_cast<const void*>(key_cache), const_cast<const void*>(value_cache),
                             const_cast<const void*>(query)}) {
        wide = wide && on_16_bytes(each);
    }
    return dispatch_packs(dtype, wide, [&](auto* type, auto* pack) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int N = sizeof(std::remove_pointer_t<decltype(pack)>) / sizeof(T);
        HeadsShape shape = {num_heads, num_kv_heads, head_dim, 1, eps};
        while (shape.lanes < 32 && shape.lanes < head_dim / 2 / N) {
            shape.lanes *= 2;
        }
        const int all = (num_heads + 2 * num_kv_heads) * shape.lanes, threads = threads_for(all, THREADS);
        rope_and_cache_kernel<T, N><<<dim3(num_tokens, (all + threads - 1) / threads), threads, 0, stream>>>(
            static_cast<const T*>(heads), static_cast<const T*>(q_weight), static_cast<const T*>(k_weight), cos, sin,
            static_cast<T*>(key_cache), static_cast<T*>(value_cache), slot_mapping, static_cast<T*>(query), shape);
        return cudaGetLastError();
    });
}
