// Rung 4 of flash attention: both matrix products on tensor cores, and the next tile copied while this one is computed.
// fp16 and bf16.
//
// What changed:
// - mma.sync multiplies a 16x16 by a 16x8 matrix per warp and instruction, with sums in float. Its operands and results
//   are fragments, spread over the registers of the 32 lanes; the scores come out in the layout in which the weights
//   are needed for the second product, so they never leave the registers.
// - ldmatrix fetches fragments from shared memory, four 8x8 matrices at once. A tile is stored with its 16-byte chunks
//   swapped within a row (swizzled), so that neither the copies nor ldmatrix meet a bank twice: profile() shows 0
//   conflicts.
// - cp.async copies from global to shared memory without registers, 16 bytes a thread. Two stages of keys and values:
//   while one is computed with, the next is in flight. One barrier for each tile.
// - A warp has 32 rows (16 for head_dim above 128), so that what it fetches of keys and values serves 32 rows at once.
// - Weights are powers of 2, with log2(e) in the scale of the scores: that is what the hardware computes.
// - What was added up is scaled to a new maximum only when that has grown by more than a factor of 2^8.
//
// What it should gain: FlashAttention-2 reaches 350-370 TFLOP/s with this plan at head_dim 128 on an H100 or H200,
// where rungs 2 and 3, without tensor cores, cannot pass 67 (its limit in fp32).
//
// What it did gain on an H100 (README.md): 19 times the speed of rung 3. 371 TFLOP/s, 328 with a causal mask; torch's
// own FlashAttention-2 reached 341 and 305 beside it.
//
// Arguments as problem.cuh says; head_dim a multiple of 8 up to 256, all pointers 16-byte aligned, scale above 0.
#include <yaie_ptx.cuh>

#include "problem.cuh"

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr float LOG2_E = 1.44269504f;
constexpr float LARGEST_GROWTH = 8.0f;  // of a maximum, as a power of 2, before sums are scaled: weights stay below 2^8

// The sizes for one head_dim: 64, 128 or 256; smaller ones are filled up with zeros.
template <int HEAD_DIM>
struct Sizes {
    static constexpr int BANDS = HEAD_DIM <= 128 ? 2 : 1;  // bands of 16 rows that a warp works on
    static constexpr int WARP_ROWS = 16 * BANDS;
    static constexpr int ROWS = WARP_ROWS * WARPS;
    static constexpr int KEYS = HEAD_DIM <= 128 ? 64 : 32;
    static constexpr int CHUNKS = HEAD_DIM / 8;  // of 16 bytes in a row
    static constexpr int SHARED_BYTES = 16 * CHUNKS * (ROWS + 2 * 2 * KEYS);  // queries; two stages of keys and values
};

// Accumulators of a warp: [band of 16 rows][block of 8 columns][4]. Lane l has in element i the
// row l / 4 + 8 * (i / 2) of the band, and the column l % 4 * 2 + i % 2 of the block.
template <int BANDS, int BLOCKS>
using Accumulators = float[BANDS][BLOCKS][4];

// Maximum and sum of the rows that this lane has elements of. The sum covers the lane's own columns only.
template <int BANDS>
struct RunningRows {
    float most[BANDS][2], sum[BANDS][2];
};

template <int BANDS, int BLOCKS>
__device__ __forceinline__ void clear(Accumulators<BANDS, BLOCKS>& accumulators) {
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int block = 0; block < BLOCKS; ++block) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                accumulators[band][block][i] = 0.0f;
            }
        }
    }
}

// d += a * b: 16 rows of a (two pairs of 8 columns) times 8 columns of b, by the whole warp.
template <typename T>
__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void multiply<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    yaie::mma_m16n8k16_f16(d, a, b, d);
}
template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    yaie::mma_m16n8k16_bf16(d, a, b, d);
}

// Two floats rounded to 16 bits, the first in the lower half.
template <typename T>
__device__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}

// Where the 16-byte chunk of a row lies in a tile. The 8 chunks that ldmatrix reads at once are the same chunk of 8
// rows; unswizzled they would all lie in the same 4 banks.
template <int HEAD_DIM>
__device__ __forceinline__ int place(int row, int chunk) {
    return row * (HEAD_DIM / 8) + (chunk ^ (row % 8));
}

// Start copying the rows first, first + 1, ... (count rows in all, `stride` elements apart) into a tile of ROWS rows.
// Rows beyond the end and columns beyond head_dim become 0. All threads of the block call it.
template <int HEAD_DIM, int ROWS, typename T>
__device__ __forceinline__ void start_copy(const T* rows, int stride, int first, int count, int head_dim,
                                           uint4* tile) {
    constexpr int CHUNKS = HEAD_DIM / 8;
    constexpr int ROWS_AT_ONCE = THREADS / CHUNKS;
    const int chunk = threadIdx.x % CHUNKS;
    int row = threadIdx.x / CHUNKS;
    const T* source = rows + static_cast<int64_t>(first + row) * stride + 8 * chunk;
#pragma unroll
    for (int pass = 0; pass < ROWS / ROWS_AT_ONCE; ++pass) {
        const bool exists = first + row < count && 8 * chunk < head_dim;
        yaie::cp_async_16(&tile[place<HEAD_DIM>(row, chunk)], source, exists ? 16 : 0);
        row += ROWS_AT_ONCE;
        source += stride * ROWS_AT_ONCE;
    }
}

// scores += queries * keys^T, for the rows of this warp (band b begins at row 16 * (BANDS * warp + b) of the tile of
// queries) and all keys of the tile.
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    constexpr int CHUNKS = HEAD_DIM / 8;
    const int lane = threadIdx.x % 32;
    const int first_row = threadIdx.x / 32 * (16 * BANDS);
#pragma unroll 4  // unrolled as a whole it would need more registers than there are
    for (int chunk = 0; chunk < CHUNKS; chunk += 2) {
        uint32_t a[BANDS][4];
        const uint4* query_chunk = &queries[place<HEAD_DIM>(first_row + lane % 16, chunk + lane / 16)];
        const uint4* key_chunk = &keys[place<HEAD_DIM>(lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2)];
#pragma unroll
        for (int band = 0; band < BANDS; ++band) {
            yaie::ldmatrix_x4(a[band], query_chunk + 16 * band * CHUNKS);
        }
#pragma unroll
        for (int block = 0; block < BLOCKS; block += 2) {  // 16 keys: an operand of 8 keys in b[0..1], one in b[2..3]
            uint32_t b[4];
            yaie::ldmatrix_x4(b, key_chunk + 8 * block * CHUNKS);
#pragma unroll
            for (int band = 0; band < BANDS; ++band) {
                multiply<T>(scores[band][block], a[band], {b[0], b[1]});
                multiply<T>(scores[band][block + 1], a[band], {b[2], b[3]});
            }
        }
    }
}

// Set the scores of keys that a row may not see (head.visible_keys) to -inf. The scores of this warp, laid out as
// Accumulators says, begin with row first_row and key first_key of the head.
template <typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Head<T>& head, int first_row,
                                            int first_key) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = first_row + 16 * band + lane / 4 + 8 * (i / 2);
            const int end = head.visible_keys(row) - first_key - lane % 4 * 2 - i % 2;
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block) {
                if (8 * block >= end) {
                    scores[band][block][i] = -INFINITY;
                }
            }
        }
    }
}

// Scale what was added up to the new maxima.
template <int BANDS, int COLUMN_BLOCKS>
__device__ __forceinline__ void rescale(const float (&tile_most)[BANDS][2], RunningRows<BANDS>& running,
                                        Accumulators<BANDS, COLUMN_BLOCKS>& sums, float scale_log2) {
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float old = running.most[band][half];
            const float most = fmaxf(old, tile_most[band][half]);
            const float factor = most == -INFINITY ? 1.0f : yaie::fast_exp2((old - most) * scale_log2);
            running.most[band][half] = most;
            running.sum[band][half] *= factor;
#pragma unroll
            for (int block = 0; block < COLUMN_BLOCKS; ++block) {
                sums[band][block][2 * half] *= factor;
                sums[band][block][2 * half + 1] *= factor;
            }
        }
    }
}

// Take a tile of scores into the running maxima and sums, and turn each score into its weight,
// 2^(scale_log2 * (score - maximum of its row)).
template <int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void take_scores(Accumulators<BANDS, BLOCKS>& scores, RunningRows<BANDS>& running,
                                            Accumulators<BANDS, COLUMN_BLOCKS>& sums, float scale_log2) {
    float tile_most[BANDS][2];
    bool grown = false;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float most = -INFINITY;
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block) {
                most = fmaxf(most, fmaxf(scores[band][block][2 * half], scores[band][block][2 * half + 1]));
            }
            most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, 1));  // the four lanes that share a row
            most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, 2));
            tile_most[band][half] = most;
            grown |= most * scale_log2 > running.most[band][half] * scale_log2 + LARGEST_GROWTH;
        }
    }
    if (__any_sync(FULL_WARP, grown)) {
        rescale(tile_most, running, sums, scale_log2);
    }
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float most = running.most[band][half];
            const float shift = most == -INFINITY ? 0.0f : most * scale_log2;  // no key seen: exp2(-inf) = 0, not NaN
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block) {
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; ++i) {
                    const float weight = yaie::fast_exp2(scores[band][block][i] * scale_log2 - shift);
                    scores[band][block][i] = weight;
                    running.sum[band][half] += weight;
                }
            }
        }
    }
}

// The weights of 16 keys as the left operand of the next product. Of an operand's four registers, 0 and 1 hold the rows
// l / 4 and l / 4 + 8 of the first 8 columns, 2 and 3 of the last 8: exactly the elements that the lane has.
template <typename T>
__device__ __forceinline__ void to_operand(const float (&left)[4], const float (&right)[4], uint32_t (&a)[4]) {
    a[0] = pack<T>(left[0], left[1]);
    a[1] = pack<T>(left[2], left[3]);
    a[2] = pack<T>(right[0], right[1]);
    a[3] = pack<T>(right[2], right[3]);
}

// sums += weights * values for the rows of this warp.
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void add_values(const Accumulators<BANDS, BLOCKS>& weights, const uint4* values,
                                           Accumulators<BANDS, COLUMN_BLOCKS>& sums) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int block = 0; block < BLOCKS; block += 2) {
        uint32_t a[BANDS][4];
#pragma unroll
        for (int band = 0; band < BANDS; ++band) {
            to_operand<T>(weights[band][block], weights[band][block + 1], a[band]);
        }
#pragma unroll
        for (int column = 0; column < COLUMN_BLOCKS; column += 2) {
            uint32_t b[4];
            const uint4* value_chunk = &values[place<HEAD_DIM>(lane % 16, column + lane / 16)];
            yaie::ldmatrix_x4_trans(b, value_chunk + 8 * block * (HEAD_DIM / 8));
#pragma unroll
            for (int band = 0; band < BANDS; ++band) {
                multiply<T>(sums[band][column], a[band], {b[0], b[1]});
                multiply<T>(sums[band][column + 1], a[band], {b[2], b[3]});
            }
        }
    }
}

// Divide by the sums of the weights and write the warp's rows, through its own rows of the queries' tile: so each
// lane stores 16 bytes, and a row is written as a whole.
template <int HEAD_DIM, typename T, int BANDS, int COLUMN_BLOCKS>
__device__ __forceinline__ void write_rows(const Accumulators<BANDS, COLUMN_BLOCKS>& sums,
                                           const RunningRows<BANDS>& running, uint4* tile, const Head<T>& head,
                                           int first_row, int head_dim) {
    constexpr int CHUNKS = HEAD_DIM / 8;
    const int lane = threadIdx.x % 32;
    const int warp_row = threadIdx.x / 32 * (16 * BANDS);
    __syncwarp();  // no lane reads queries any more
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float sum = running.sum[band][half];
            sum += __shfl_xor_sync(FULL_WARP, sum, 1);
            sum += __shfl_xor_sync(FULL_WARP, sum, 2);
            const float share = sum > 0.0f ? 1.0f / sum : 0.0f;
            const int row = warp_row + 16 * band + lane / 4 + 8 * half;
#pragma unroll
            for (int block = 0; block < COLUMN_BLOCKS; ++block) {
                reinterpret_cast<uint32_t*>(&tile[place<HEAD_DIM>(row, block)])[lane % 4] =
                    pack<T>(sums[band][block][2 * half] * share, sums[band][block][2 * half + 1] * share);
            }
        }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 16 * BANDS * CHUNKS / 32; ++i) {
        const int row = warp_row + (32 * i + lane) / CHUNKS;
        const int chunk = (32 * i + lane) % CHUNKS;
        if (first_row + row < head.q_len && 8 * chunk < head_dim) {
            T* target = head.out + head.to_query(first_row + row) + 8 * chunk;
            *reinterpret_cast<uint4*>(target) = tile[place<HEAD_DIM>(row, chunk)];
        }
    }
}

// When this returns, all threads may read tile number `tile`, and the copy of the next one, if there is one, is in
// flight. start_tile(n) starts this thread's part of the copy of tile n, into the stage that tile n - 2 was in. The
// copy of tile 0 has been started, and closed as a group, before. All threads of the block call this, for each tile in
// turn.
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    yaie::cp_async_wait<0>();
    __syncthreads();  // all copies of this tile have landed, and nobody reads the stage of the last one any more
    if (tile + 1 < num_tiles) {
        start_tile(tile + 1);
        yaie::cp_async_commit();
    }
}

template <int HEAD_DIM, typename T>
__global__ void __launch_bounds__(THREADS, 2) tensor_cores_kernel(const T* query, const T* key, const T* value, T* out,
                                                                  Problem problem) {
    using S = Sizes<HEAD_DIM>;
    extern __shared__ uint4 shared[];
    __shared__ Head<T> head;  // one for all threads: their registers are full
    if (threadIdx.x == 0) {
        head = head_of_this_block(query, key, value, out, problem);
    }
    __syncthreads();
    const int first_row = (gridDim.x - 1 - blockIdx.x) * S::ROWS;  // with a mask the last rows have most to do: first
    if (first_row >= head.q_len) {
        return;
    }
    const int head_dim = problem.head_dim;
    const int warp_row = first_row + threadIdx.x / 32 * S::WARP_ROWS;
    uint4* queries = shared;                            // [ROWS][CHUNKS], as all tiles swizzled
    uint4* keys = queries + S::ROWS * S::CHUNKS;        // [2][KEYS][CHUNKS]
    uint4* values = keys + 2 * S::KEYS * S::CHUNKS;     // [2][KEYS][CHUNKS]

    // Start copying a tile of keys and values into its stage.
    auto start_tile = [&](int tile) {
        const int stage = tile % 2 * (S::KEYS * S::CHUNKS);
        const int first = tile * S::KEYS;
        start_copy<HEAD_DIM, S::KEYS>(head.key, head.key_stride, first, head.kv_len, head_dim, keys + stage);
        start_copy<HEAD_DIM, S::KEYS>(head.value, head.key_stride, first, head.kv_len, head_dim, values + stage);
    };

    const int num_tiles = (head.visible_keys(first_row + S::ROWS - 1) + S::KEYS - 1) / S::KEYS;
    if (num_tiles > 0) {
        start_copy<HEAD_DIM, S::ROWS>(head.query, head.query_stride, first_row, head.q_len, head_dim, queries);
        start_tile(0);
        yaie::cp_async_commit();
    }
    const float scale_log2 = problem.scale * LOG2_E;
    RunningRows<S::BANDS> running;
    float sums[S::BANDS][HEAD_DIM / 8][4];
    clear(sums);
#pragma unroll
    for (int band = 0; band < S::BANDS; ++band) {
        running.most[band][0] = running.most[band][1] = -INFINITY;
        running.sum[band][0] = running.sum[band][1] = 0.0f;
    }
#pragma unroll 1
    for (int tile = 0; tile < num_tiles; ++tile) {
        next_tile(tile, num_tiles, start_tile);
        const int stage = tile % 2 * (S::KEYS * S::CHUNKS);
        const int first_key = tile * S::KEYS;
        float scores[S::BANDS][S::KEYS / 8][4];
        clear(scores);
        score_keys<HEAD_DIM, T>(queries, keys + stage, scores);
        if (first_key + S::KEYS > head.visible_keys(warp_row)) {
            mask_scores(scores, head, warp_row, first_key);
        }
        take_scores(scores, running, sums, scale_log2);
        add_values<HEAD_DIM, T>(scores, values + stage, sums);
    }
    write_rows<HEAD_DIM>(sums, running, queries, head, first_row, head_dim);
}

template <int HEAD_DIM, typename T>
static int launch_tensor_cores(const void* query, const void* key, const void* value, void* out, int num_seqs,
                               int max_q_len, const Problem& problem, cudaStream_t stream) {
    using S = Sizes<HEAD_DIM>;
    if (const cudaError_t error = allow_shared_memory(tensor_cores_kernel<HEAD_DIM, T>, S::SHARED_BYTES)) {
        return error;
    }
    const dim3 grid((max_q_len + S::ROWS - 1) / S::ROWS, problem.num_heads, num_seqs);
    tensor_cores_kernel<HEAD_DIM, T><<<grid, THREADS, S::SHARED_BYTES, stream>>>(
        static_cast<const T*>(query), static_cast<const T*>(key), static_cast<const T*>(value), static_cast<T*>(out),
        problem);
    return cudaGetLastError();
}

extern "C" int flash_attention_4_tensor_cores(const void* query, const void* key, const void* value, void* out,
                                              const int* cu_seqlens_q, const int* cu_seqlens_k, int num_seqs,
                                              int max_q_len, int num_heads, int num_kv_heads, int head_dim, float scale,
                                              int causal, int dtype, cudaStream_t stream) {
    if (num_seqs == 0 || max_q_len == 0) {
        return cudaSuccess;
    }
    if (head_dim % 8 != 0 || head_dim > 256 || !(scale > 0.0f)) {
        return cudaErrorInvalidValue;
    }
    const Problem problem = {cu_seqlens_q, cu_seqlens_k, num_heads, num_kv_heads, head_dim, scale, causal != 0};
    return dispatch_16_bit(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return dispatch_head_dim<64, 128, 256>(head_dim, [&](auto size) {
            return launch_tensor_cores<size(), T>(query, key, value, out, num_seqs, max_q_len, problem, stream);
        });
    });
}
