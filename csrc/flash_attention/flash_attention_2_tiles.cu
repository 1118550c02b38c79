// Rung 2 of flash attention: tiles of keys and values in shared memory, and a running maximum and sum for each row.
//
// What changed: a thread block takes 32 query rows through all keys, 32 keys at a time. A row keeps the largest score
// so far, the sum of its weights exp(score - largest), and the weighted sum of the values. When a tile brings a
// larger score, what was added up before is scaled down to the new maximum; so the result is the softmax over all
// keys, although no more than 32 scores of a row exist at a time.
//
// What it should gain: no scores in memory, and a tile of keys and values is read once for 32 rows instead of once
// for each row. The emulator's profile() counts the bytes.
//
// What it did gain on an H100 (README.md): 9 times the speed of rung 1, and still only 8.5 TFLOP/s.
//
// Warp w has the rows 4w to 4w + 3 of the block's 32. While a row is scored, lane i has key i of the tile; when the
// values are added up, lane i has the columns i, i + 32, ... of the row.
//
// Arguments as problem.cuh says.
#include "problem.cuh"

constexpr int ROWS = 32, KEYS = 32, WARPS = 8, ROWS_PER_WARP = ROWS / WARPS;

// A row's softmax so far: the largest score, and the sum of exp(score - most) over the keys seen.
struct Running {
    float most, sum;
};

// Copy the rows first .. first + 31 of `rows` (count rows in all, `stride` elements apart) into a tile in shared
// memory, as float; rows of the tile lie tile_stride floats apart. Rows beyond the end become 0. All threads of the
// block call it.
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    for (int i = threadIdx.x; i < KEYS * head_dim; i += blockDim.x) {
        const int row = i / head_dim;
        const int column = i % head_dim;
        const bool exists = first + row < count;
        const int64_t place = static_cast<int64_t>(first + row) * stride + column;
        tile[row * tile_stride + column] = exists ? to_float(rows[place]) : 0.0f;
    }
}

// Take the scores of one more tile into a row's running maximum and sum. All 32 lanes call it, each with the score of
// one key (-inf if the row may not see it), and all get the same `row`. Returns the weight of the lane's key;
// `rescale` is the factor for what was added up before.
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(row.most, warp_max(score));
    if (most == -INFINITY) {  // nothing to see so far: exp(-inf - -inf) would be NaN
        rescale = 1.0f;
        return 0.0f;
    }
    const float weight = expf(score - most);
    rescale = expf(row.most - most);
    row.sum = row.sum * rescale + warp_sum(weight);
    row.most = most;
    return weight;
}

// COLUMNS: columns of a row for each lane, at least head_dim / 32.
template <typename T, int COLUMNS>
__global__ void __launch_bounds__(WARPS * 32, 1) tiles_kernel(const T* query, const T* key, const T* value, T* out,
                                                           Problem problem) {
    extern __shared__ float shared[];
    const Head<T> head = head_of_this_block(query, key, value, out, problem);
    const int first_row = blockIdx.x * ROWS;
    if (first_row >= head.q_len) {
        return;
    }
    const int head_dim = problem.head_dim;
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    float* queries = shared;                           // [ROWS][head_dim]
    float* keys = queries + ROWS * head_dim;           // [KEYS][head_dim + 1]: lanes read a column, one bank each
    float* values = keys + KEYS * (head_dim + 1);      // [KEYS][head_dim]
    load_tile(head.query, head.query_stride, first_row, head.q_len, head_dim, queries, head_dim);

    Running running[ROWS_PER_WARP];
    float sums[ROWS_PER_WARP][COLUMNS];
#pragma unroll
    for (int r = 0; r < ROWS_PER_WARP; ++r) {
        running[r] = {-INFINITY, 0.0f};
        for (int c = 0; c < COLUMNS; ++c) {
            sums[r][c] = 0.0f;
        }
    }
    for (int first_key = 0; first_key < head.kv_len; first_key += KEYS) {
        __syncthreads();  // no thread reads the last tile any more
        load_tile(head.key, head.key_stride, first_key, head.kv_len, head_dim, keys, head_dim + 1);
        load_tile(head.value, head.key_stride, first_key, head.kv_len, head_dim, values, head_dim);
        __syncthreads();
#pragma unroll
        for (int r = 0; r < ROWS_PER_WARP; ++r) {
            const int row = warp * ROWS_PER_WARP + r;
            float score = 0.0f;
            for (int d = 0; d < head_dim; ++d) {
                score += queries[row * head_dim + d] * keys[lane * (head_dim + 1) + d];
            }
            score = first_key + lane < head.visible_keys(first_row + row) ? score * problem.scale : -INFINITY;
            float rescale;
            const float weight = take_scores(score, running[r], rescale);
            for (int c = 0; c < COLUMNS; ++c) {
                sums[r][c] *= rescale;
            }
#pragma unroll 4
            for (int j = 0; j < KEYS; ++j) {
                const float weight_of_j = __shfl_sync(FULL_WARP, weight, j);
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) {
                    if (lane + 32 * c < head_dim) {
                        sums[r][c] += weight_of_j * values[j * head_dim + lane + 32 * c];
                    }
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS_PER_WARP; ++r) {
        const int row = first_row + warp * ROWS_PER_WARP + r;
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            if (row < head.q_len && lane + 32 * c < head_dim) {
                const float sum = running[r].sum > 0.0f ? sums[r][c] / running[r].sum : 0.0f;
                head.out[head.to_query(row) + lane + 32 * c] = from_float<T>(sum);
            }
        }
    }
}

template <typename T, int COLUMNS>
static int launch_tiles(const void* query, const void* key, const void* value, void* out, dim3 grid,
                        const Problem& problem, cudaStream_t stream) {
    const size_t bytes = sizeof(float) * ((ROWS + 2 * KEYS) * problem.head_dim + KEYS);
    if (const cudaError_t error = allow_shared_memory(tiles_kernel<T, COLUMNS>, bytes)) {
        return error;
    }
    tiles_kernel<T, COLUMNS><<<grid, WARPS * 32, bytes, stream>>>(
        static_cast<const T*>(query), static_cast<const T*>(key), static_cast<const T*>(value), static_cast<T*>(out),
        problem);
    return cudaGetLastError();
}

extern "C" int flash_attention_2_tiles(const void* query, const void* key, const void* value, void* out,
                                       const int* cu_seqlens_q, const int* cu_seqlens_k, int num_seqs, int max_q_len,
                                       int num_heads, int num_kv_heads, int head_dim, float scale, int causal,
                                       int dtype, cudaStream_t stream) {
    if (num_seqs == 0 || max_q_len == 0) {
        return cudaSuccess;
    }
    if (head_dim > 256) {
        return cudaErrorInvalidValue;
    }
    const Problem problem = {cu_seqlens_q, cu_seqlens_k, num_heads, num_kv_heads, head_dim, scale, causal != 0};
    const dim3 grid((max_q_len + ROWS - 1) / ROWS, num_heads, num_seqs);
    return dispatch_dtype(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return dispatch_head_dim<64, 128, 256>(head_dim, [&](auto size) {
            return launch_tiles<T, size() / 32>(query, key, value, out, grid, problem, stream);
        });
    });
}
