// Rung 3 of flash attention: tiles of keys that no row may see are skipped, and each thread works on a tile in
// registers.
//
// What changed:
// - With a causal mask a block of rows visits only the tiles of keys up to its last row: half of them on average.
//   Keys are compared with the mask only in the tiles that need it.
// - Rung 2 reads two numbers from shared memory for each multiplication. Here a thread has 4 rows and 4 keys: it reads
//   4 + 4 numbers for 16 multiplications of the scores, and likewise for the weighted sums. It reads four at once.
//
// What it should gain: twice by skipping at long causal prompts; the rest is bound by float multiplications and no
// longer by shared memory.
//
// What it did gain on an H100 (README.md): 2.3 times without a mask, 4.5 times with one; 20 TFLOP/s.
//
// Thread (ty, tx) of 16 x 16 has the rows R * ty to R * ty + R - 1, the keys tx, tx + 16, ... of a tile, and of the
// sums the columns 4 * tx to 4 * tx + 3, and so on in steps of 64. The 16 threads of a row are half a warp.
//
// Arguments as problem.cuh says; head_dim a multiple of 8 up to 256, all pointers 16-byte aligned.
#include "problem.cuh"

constexpr int SIDE = 16, THREADS = SIDE * SIDE;

// The sizes for head_dim up to LARGEST: rows (and keys) for each thread, rows (and keys) of a tile.
template <int LARGEST>
struct Sizes {
    static constexpr int R = LARGEST <= 128 ? 4 : 2;
    static constexpr int TILE = SIDE * R;
    static constexpr int QUADS = LARGEST / 64;           // groups of 4 columns for each thread
    static constexpr int WEIGHT_STRIDE = TILE + 16 / R;  // the two rows that a warp writes at once: 16 banks apart
};

// Four elements, loaded at once, as floats.
__device__ __forceinline__ float4 load_four(const float* p) { return *reinterpret_cast<const float4*>(p); }
template <typename Half>
__device__ __forceinline__ float4 load_four(const Half* p) {
    const uint2 raw = *reinterpret_cast<const uint2*>(p);
    const Half* four = reinterpret_cast<const Half*>(&raw);
    return make_float4(to_float(four[0]), to_float(four[1]), to_float(four[2]), to_float(four[3]));
}

// Round four floats and store them at once.
__device__ __forceinline__ void store_four(float* p, float4 x) { *reinterpret_cast<float4*>(p) = x; }
template <typename Half>
__device__ __forceinline__ void store_four(Half* p, float4 x) {
    uint2 raw;
    Half* four = reinterpret_cast<Half*>(&raw);
    four[0] = from_float<Half>(x.x);
    four[1] = from_float<Half>(x.y);
    four[2] = from_float<Half>(x.z);
    four[3] = from_float<Half>(x.w);
    *reinterpret_cast<uint2*>(p) = raw;
}

// Copy the rows first, first + 1, ... (count in all, `stride` elements apart) into a tile of TILE rows, tile_stride
// floats apart. Rows beyond the end become 0.
template <int TILE, typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile, int tile_stride) {
    const int quads = head_dim / 4;
    for (int i = threadIdx.x; i < TILE * quads; i += THREADS) {
        const int row = i / quads;
        const int column = i % quads * 4;
        float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (first + row < count) {
            four = load_four(rows + static_cast<int64_t>(first + row) * stride + column);
        }
        *reinterpret_cast<float4*>(&tile[row * tile_stride + column]) = four;
    }
}

// Which tiles of TILE keys matter to a block of rows: the first `to_visit`, of which the first `seen_by_all` need no
// mask.
struct Tiles {
    int seen_by_all, to_visit;
};

// The tiles that matter to the TILE rows from first_row on. head.visible_keys(row) says how many keys a row may see
// (also for rows beyond the end); a later row never sees fewer.
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    const int last_row = first_row + TILE - 1;
    Tiles tiles;
    tiles.seen_by_all = head.visible_keys(first_row) / TILE;
    tiles.to_visit = (head.visible_keys(last_row) + TILE - 1) / TILE;
    return tiles;
}

// The largest value, or the sum, over the 16 threads of a row.
__device__ __forceinline__ float row_max(float value) {
    for (int distance = SIDE / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
    }
    return value;
}

__device__ __forceinline__ float row_sum(float value) {
    for (int distance = SIDE / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(FULL_WARP, value, distance);
    }
    return value;
}

// Add a . b to a sum.
__device__ __forceinline__ void add_dot(float& sum, float4 a, float4 b) {
    sum += a.x * b.x;
    sum += a.y * b.y;
    sum += a.z * b.z;
    sum += a.w * b.w;
}

// The scores of R rows and R keys, in registers: a step reads four columns of each.
template <int R>
__device__ __forceinline__ void score_keys(const float* queries, const float* keys, int stride, int head_dim,
                                           float (&scores)[R][R]) {
    const int tx = threadIdx.x % SIDE;
    const int ty = threadIdx.x / SIDE;
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int k = 0; k < R; ++k) {
            scores[r][k] = 0.0f;
        }
    }
#pragma unroll 2
    for (int d = 0; d < head_dim; d += 4) {
        float4 q[R], k[R];
#pragma unroll
        for (int i = 0; i < R; ++i) {
            q[i] = *reinterpret_cast<const float4*>(&queries[(R * ty + i) * stride + d]);
            k[i] = *reinterpret_cast<const float4*>(&keys[(tx + SIDE * i) * stride + d]);
        }
#pragma unroll
        for (int r = 0; r < R; ++r) {
#pragma unroll
            for (int i = 0; i < R; ++i) {
                add_dot(scores[r][i], q[r], k[i]);
            }
        }
    }
}

// sums += weights * values for R rows and this thread's columns.
template <int R, int QUADS>
__device__ __forceinline__ void add_values(const float* weights, int weight_stride, const float* values, int stride,
                                           int head_dim, float4 (&sums)[R][QUADS]) {
    const int tx = threadIdx.x % SIDE;
    const int ty = threadIdx.x / SIDE;
#pragma unroll 4
    for (int key = 0; key < SIDE * R; ++key) {
        float weight[R];
#pragma unroll
        for (int r = 0; r < R; ++r) {
            weight[r] = weights[(R * ty + r) * weight_stride + key];
        }
#pragma unroll
        for (int quad = 0; quad < QUADS; ++quad) {
            if (4 * tx + 64 * quad < head_dim) {
                const float4 v = *reinterpret_cast<const float4*>(&values[key * stride + 4 * tx + 64 * quad]);
#pragma unroll
                for (int r = 0; r < R; ++r) {
                    sums[r][quad].x += weight[r] * v.x;
                    sums[r][quad].y += weight[r] * v.y;
                    sums[r][quad].z += weight[r] * v.z;
                    sums[r][quad].w += weight[r] * v.w;
                }
            }
        }
    }
}

template <typename T, int LARGEST>
__global__ void __launch_bounds__(THREADS, 1) registers_kernel(const T* query, const T* key, const T* value, T* out,
                                                               Problem problem) {
    using S = Sizes<LARGEST>;
    constexpr int R = S::R, TILE = S::TILE, QUADS = S::QUADS;
    extern __shared__ float4 shared[];
    const Head<T> head = head_of_this_block(query, key, value, out, problem);
    const int first_row = (gridDim.x - 1 - blockIdx.x) * TILE;  // with a mask the last rows have most to do: first
    if (first_row >= head.q_len) {
        return;
    }
    const int head_dim = problem.head_dim;
    const int stride = head_dim + 4;  // 8 lanes read 16 bytes each of one column: 8 rows, 32 different banks
    const int tx = threadIdx.x % SIDE;
    const int ty = threadIdx.x / SIDE;
    float* queries = reinterpret_cast<float*>(shared);  // [TILE][stride]
    float* tile = queries + TILE * stride;              // [TILE][stride]: the keys, then the values
    float* weights = tile + TILE * stride;              // [TILE][WEIGHT_STRIDE]
    load_tile<TILE>(head.query, head.query_stride, first_row, head.q_len, head_dim, queries, stride);

    float most[R], sum[R];
    float4 sums[R][QUADS];
#pragma unroll
    for (int r = 0; r < R; ++r) {
        most[r] = -INFINITY;
        sum[r] = 0.0f;
#pragma unroll
        for (int quad = 0; quad < QUADS; ++quad) {
            sums[r][quad] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }
    const Tiles tiles = tiles_that_matter<TILE>(head, first_row);
    for (int number = 0; number < tiles.to_visit; ++number) {
        const int first_key = number * TILE;
        __syncthreads();  // no thread reads the last tile any more
        load_tile<TILE>(head.key, head.key_stride, first_key, head.kv_len, head_dim, tile, stride);
        __syncthreads();
        float scores[R][R];
        score_keys<R>(queries, tile, stride, head_dim, scores);
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const bool masked = number >= tiles.seen_by_all;
            const int end = masked ? head.visible_keys(first_row + R * ty + r) - first_key : TILE;
            float tile_most = -INFINITY;
#pragma unroll
            for (int k = 0; k < R; ++k) {
                scores[r][k] = tx + SIDE * k < end ? scores[r][k] * problem.scale : -INFINITY;
                tile_most = fmaxf(tile_most, scores[r][k]);
            }
            const float old = most[r];
            most[r] = fmaxf(old, row_max(tile_most));
            const float shift = most[r] == -INFINITY ? 0.0f : most[r];  // no key seen so far: exp(-inf) = 0, not NaN
            const float factor = expf(old - shift);
            float tile_sum = 0.0f;
#pragma unroll
            for (int k = 0; k < R; ++k) {
                const float weight = expf(scores[r][k] - shift);
                weights[(R * ty + r) * S::WEIGHT_STRIDE + tx + SIDE * k] = weight;
                tile_sum += weight;
            }
            sum[r] = sum[r] * factor + row_sum(tile_sum);
#pragma unroll
            for (int quad = 0; quad < QUADS; ++quad) {
                sums[r][quad].x *= factor;
                sums[r][quad].y *= factor;
                sums[r][quad].z *= factor;
                sums[r][quad].w *= factor;
            }
        }
        __syncthreads();  // no thread reads the keys any more, and all weights are there
        load_tile<TILE>(head.value, head.key_stride, first_key, head.kv_len, head_dim, tile, stride);
        __syncthreads();
        add_values<R, QUADS>(weights, S::WEIGHT_STRIDE, tile, stride, head_dim, sums);
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
        const int row = first_row + R * ty + r;
        const float share = sum[r] > 0.0f ? 1.0f / sum[r] : 0.0f;
#pragma unroll
        for (int quad = 0; quad < QUADS; ++quad) {
            const int column = 4 * tx + 64 * quad;
            if (row < head.q_len && column < head_dim) {
                const float4 x = sums[r][quad];
                store_four(head.out + head.to_query(row) + column,
                           make_float4(x.x * share, x.y * share, x.z * share, x.w * share));
            }
        }
    }
}

template <typename T, int LARGEST>
static int launch_registers(const void* query, const void* key, const void* value, void* out, int num_seqs,
                            int max_q_len, const Problem& problem, cudaStream_t stream) {
    using S = Sizes<LARGEST>;
    const size_t bytes = sizeof(float) * S::TILE * (2 * (problem.head_dim + 4) + S::WEIGHT_STRIDE);
    if (const cudaError_t error = allow_shared_memory(registers_kernel<T, LARGEST>, bytes)) {
        return error;
    }
    const dim3 grid((max_q_len + S::TILE - 1) / S::TILE, problem.num_heads, num_seqs);
    registers_kernel<T, LARGEST><<<grid, THREADS, bytes, stream>>>(
        static_cast<const T*>(query), static_cast<const T*>(key), static_cast<const T*>(value), static_cast<T*>(out),
        problem);
    return cudaGetLastError();
}

extern "C" int flash_attention_3_registers(const void* query, const void* key, const void* value, void* out,
                                           const int* cu_seqlens_q, const int* cu_seqlens_k, int num_seqs,
                                           int max_q_len, int num_heads, int num_kv_heads, int head_dim, float scale,
                                           int causal, int dtype, cudaStream_t stream) {
    if (num_seqs == 0 || max_q_len == 0) {
        return cudaSuccess;
    }
    if (head_dim % 8 != 0 || head_dim > 256) {
        return cudaErrorInvalidValue;
    }
    const Problem problem = {cu_seqlens_q, cu_seqlens_k, num_heads, num_kv_heads, head_dim, scale, causal != 0};
    return dispatch_dtype(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return dispatch_head_dim<64, 128, 256>(head_dim, [&](auto size) {
            return launch_registers<T, size()>(query, key, value, out, num_seqs, max_q_len, problem, stream);
        });
    });
}
