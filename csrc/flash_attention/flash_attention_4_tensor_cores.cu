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
// - Keys and values may lie in the pages of a cache: flash_attention_4_paged. They are copied from where they lie;
//   where that is, a lane asks a tile ahead. There a row is a token and one of the query heads that share a head of
//   keys and values (GQA), so a few new tokens fill a tile, and the rows of a tile see nearly the same keys.
//
// What it should gain: FlashAttention-2 reaches 350-370 TFLOP/s with this plan at head_dim 128 on an H100 or H200,
// where rungs 2 and 3, without tensor cores, cannot pass 67 (its limit in fp32).
//
// What it did gain on an H100 (README.md): 19 times the speed of rung 3. 371 TFLOP/s, 328 with a causal mask; torch's
// own FlashAttention-2 reached 341 and 305 beside it.
//
// Arguments as problem.cuh says (flash_attention_4_paged: see there); head_dim a multiple of 8 up to 256, all pointers
// 16-byte aligned, scale above 0.
#include "../fragments.cuh"
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

// Where keys and values lie, if not one after the other: see flash_attention_4_paged.
struct Pages {
    const int* block_tables;
    const int4* tiles;
    int block_size, max_blocks;
    int tile_pages, tile_slots;  // from a tile of keys to the next: whole pages, and the rest
};

// What Head is for contiguous keys: the rows of this thread block in one head of keys and values, and what they see.
// Row r of a tile of queries is token r / group and query head r % group of those that share the head; the block has
// those from first_row on, and counts them from 0. (Aligned: tiles of keys, which lie behind it in shared memory, are
// to begin at a multiple of 128 bytes.)
template <typename T>
struct alignas(128) Rows {
    const T *query, *key, *value;  // of row 0 of the tile of queries; of slot 0
    T* out;
    const int* block_table;  // of the sequence
    int group, head_dim, query_stride, key_stride;
    float inverse_group;
    int first_row, count, kv_len, last_page;
    int first_row_sees;  // the first of the tile
    int all_see;  // keys that every row sees

    __device__ int num_rows() const { return count; }
    // By a product instead of a division: exact for less than 2^20 rows.
    __device__ int token_of(int row) const { return static_cast<int>((first_row + row + 0.5f) * inverse_group); }
    __device__ int64_t to_query(int row) const {
        const int token = token_of(row);
        return static_cast<int64_t>(token) * query_stride + (first_row + row - token * group) * head_dim;
    }
    // Each token sees one key more than the token before.
    __device__ int visible_keys(int row) const { return max(0, min(first_row_sees + token_of(row), kv_len)); }
    __device__ bool all_rows_see(int num_keys, int) const { return num_keys <= all_see; }
};

// With a mask the last rows have most to do: they come first.
template <int HEAD_DIM>
__device__ __forceinline__ int first_row_of_this_block() {
    return (gridDim.x - 1 - blockIdx.x) * Sizes<HEAD_DIM>::ROWS;
}

// The rows from first_row on of tile blockIdx.z, for the head of keys blockIdx.y.
template <typename T>
__device__ __forceinline__ Rows<T> rows_of_this_block(const T* query, const T* key, const T* value, T* out,
                                                      const Problem& problem, const Pages& pages, int first_row) {
    const int4 tile = pages.tiles[blockIdx.z];
    const int kv_head = blockIdx.y * problem.head_dim;
    Rows<T> rows;
    rows.block_table = pages.block_tables + static_cast<int64_t>(tile.x) * pages.max_blocks;
    rows.group = problem.num_heads / problem.num_kv_heads;
    rows.inverse_group = 1.0f / rows.group;
    rows.head_dim = problem.head_dim;
    rows.query_stride = problem.num_heads * problem.head_dim;
    rows.key_stride = problem.num_kv_heads * problem.head_dim;
    rows.first_row = first_row;
    rows.count = tile.z * rows.group - first_row;
    rows.kv_len = tile.w + tile.z - 1;
    rows.last_page = (rows.kv_len - 1) / pages.block_size;
    rows.first_row_sees = tile.w;
    rows.all_see = rows.visible_keys(0);
    const int64_t to_query = static_cast<int64_t>(tile.y) * rows.query_stride + kv_head * rows.group;
    rows.query = query + to_query;
    rows.out = out + to_query;
    rows.key = key + kv_head;
    rows.value = value + kv_head;
    return rows;
}

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

// The same for queries whose place `rows` knows.
template <int HEAD_DIM, typename T>
__device__ __forceinline__ void copy_queries(const Rows<T>& rows, uint4* tile) {
    constexpr int CHUNKS = HEAD_DIM / 8;
    constexpr int ROWS_AT_ONCE = THREADS / CHUNKS;
    const int chunk = threadIdx.x % CHUNKS;
#pragma unroll 4
    for (int pass = 0; pass < Sizes<HEAD_DIM>::ROWS / ROWS_AT_ONCE; ++pass) {
        const int row = pass * ROWS_AT_ONCE + threadIdx.x / CHUNKS;
        const bool exists = row < rows.count && 8 * chunk < rows.head_dim;
        const T* source = rows.query + rows.to_query(row) + 8 * chunk;
        yaie::cp_async_16(&tile[place<HEAD_DIM>(row, chunk)], source, exists ? 16 : 0);
    }
}

// The way through the pages of a sequence, tile of keys by tile. A warp copies KEYS / WARPS rows of each tile, and lane
// l looks up where row_of_lane(l) lies; the block is copied from the table a tile ahead, so nobody waits for it.
template <int HEAD_DIM>
struct PageWalk {
    static constexpr int KEYS = Sizes<HEAD_DIM>::KEYS, ROWS_AT_ONCE = 32 * 8 / HEAD_DIM;

    // Of the lane's key in the tile to be copied next: which page of the sequence, which slot of the page, and which
    // block of the pool that page is. In shared memory, since the registers are full.
    struct Place {
        int number, slot, block;
    };
    __device__ __forceinline__ static Place& place_of_thread() {
        __shared__ Place places[THREADS];
        return places[threadIdx.x];
    }

    __device__ __forceinline__ static int row_of_lane(int lane) {
        return lane / ROWS_AT_ONCE * (ROWS_AT_ONCE * WARPS) + threadIdx.x / 32 * ROWS_AT_ONCE + lane % ROWS_AT_ONCE;
    }

    template <typename T>
    __device__ __forceinline__ void begin(const Rows<T>& rows, const Pages& pages) {
        const unsigned key = row_of_lane(threadIdx.x % 32), block_size = pages.block_size;
        Place& first = place_of_thread();
        first.number = key / block_size;
        first.slot = key % block_size;
        first.block = *entry(rows, first.number);
    }

    // Of the block table; behind the last key that of the last page: such keys are not copied.
    template <typename T>
    __device__ __forceinline__ static const int* entry(const Rows<T>& rows, int number) {
        return rows.block_table + min(number, rows.last_page);
    }

    // Start copying the tile of keys that begins with key `first`, and that of values. All threads of the block call
    // it.
    template <typename T>
    __device__ __forceinline__ void copy(const Rows<T>& rows, const Pages& pages, int first, uint4* keys,
                                         uint4* values) {
        constexpr int CHUNKS = HEAD_DIM / 8;
        const int lane = threadIdx.x % 32, chunk = lane % CHUNKS;
        Place own = place_of_thread();
        const int slot = own.block * pages.block_size + own.slot;
        // Read once: the compiler must take it that a copy may change what lies in shared memory.
        const char* key = reinterpret_cast<const char*>(rows.key + 8 * chunk);
        const char* value = reinterpret_cast<const char*>(rows.value + 8 * chunk);
        const int stride = rows.key_stride * sizeof(T);  // in bytes: then an address takes one instruction
        const int end = 8 * chunk < rows.head_dim ? rows.kv_len - first : 0;
#pragma unroll
        for (int i = 0; i < KEYS / WARPS; i += ROWS_AT_ONCE) {
            const int row = row_of_lane(i + lane / CHUNKS);
            const int64_t offset = static_cast<int64_t>(__shfl_sync(FULL_WARP, slot, i + lane / CHUNKS)) * stride;
            const int bytes = row < end ? 16 : 0;
            yaie::cp_async_16(&keys[place<HEAD_DIM>(row, chunk)], key + offset, bytes);
            yaie::cp_async_16(&values[place<HEAD_DIM>(row, chunk)], value + offset, bytes);
        }
        own.number += pages.tile_pages;
        own.slot += pages.tile_slots;
        if (own.slot >= pages.block_size) {
            own.slot -= pages.block_size;
            ++own.number;
        }
        Place& next = place_of_thread();
        next.number = own.number;
        next.slot = own.slot;
        yaie::cp_async_4(&next.block, entry(rows, own.number));  // there when this tile is
    }
};

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

// Set the scores of keys that a row may not see (rows.visible_keys) to -inf. The scores of this warp, laid out as
// Accumulators says, begin with row first_row and key first_key.
template <typename Rows, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Rows& rows, int first_row,
                                            int first_key) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = first_row + 16 * band + lane / 4 + 8 * (i / 2);
            const int end = rows.visible_keys(row) - first_key - lane % 4 * 2 - i % 2;
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
template <int HEAD_DIM, typename T, typename Rows, int BANDS, int COLUMN_BLOCKS>
__device__ __forceinline__ void write_rows(const Accumulators<BANDS, COLUMN_BLOCKS>& sums,
                                           const RunningRows<BANDS>& running, uint4* tile, const Rows& rows,
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
        if (first_row + row < rows.num_rows() && 8 * chunk < head_dim) {
            T* target = rows.out + rows.to_query(first_row + row) + 8 * chunk;
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

template <int HEAD_DIM, bool PAGED, typename T>
__global__ void __launch_bounds__(THREADS, 2) tensor_cores_kernel(const T* query, const T* key, const T* value, T* out,
                                                                  Problem problem, Pages pages) {
    using S = Sizes<HEAD_DIM>;
    extern __shared__ uint4 shared[];
    __shared__ std::conditional_t<PAGED, Rows<T>, Head<T>> rows;  // one for all threads: their registers are full
    if (threadIdx.x == 0) {
        if constexpr (PAGED) {
            rows = rows_of_this_block(query, key, value, out, problem, pages, first_row_of_this_block<HEAD_DIM>());
        } else {
            rows = head_of_this_block(query, key, value, out, problem);
        }
    }
    __syncthreads();
    const int first_row = PAGED ? 0 : first_row_of_this_block<HEAD_DIM>();  // as `rows` counts
    if (first_row >= rows.num_rows()) {
        return;
    }
    const int head_dim = problem.head_dim;
    const int warp_row = first_row + threadIdx.x / 32 * S::WARP_ROWS;
    uint4* queries = shared;                            // [ROWS][CHUNKS], as all tiles swizzled
    uint4* keys = queries + S::ROWS * S::CHUNKS;        // [2][KEYS][CHUNKS]
    uint4* values = keys + 2 * S::KEYS * S::CHUNKS;     // [2][KEYS][CHUNKS]

    PageWalk<HEAD_DIM> walk;
    if constexpr (PAGED) {
        walk.begin(rows, pages);
    }
    // Start copying a tile of keys and values into its stage.
    auto start_tile = [&](int tile) {
        const int stage = tile % 2 * (S::KEYS * S::CHUNKS);
        const int first = tile * S::KEYS;
        if constexpr (PAGED) {
            walk.copy(rows, pages, first, keys + stage, values + stage);
        } else {
            start_copy<HEAD_DIM, S::KEYS>(rows.key, rows.key_stride, first, rows.kv_len, head_dim, keys + stage);
            start_copy<HEAD_DIM, S::KEYS>(rows.value, rows.key_stride, first, rows.kv_len, head_dim, values + stage);
        }
    };

    const int num_tiles = (rows.visible_keys(first_row + S::ROWS - 1) + S::KEYS - 1) / S::KEYS;
    if (num_tiles > 0) {
        if constexpr (PAGED) {
            copy_queries<HEAD_DIM>(rows, queries);
        } else {
            start_copy<HEAD_DIM, S::ROWS>(rows.query, rows.query_stride, first_row, rows.q_len, head_dim, queries);
        }
        start_tile(0);
        yaie::cp_async_commit();
    }
    if (PAGED && __all_sync(FULL_WARP, warp_row >= rows.num_rows())) {
        // Without rows a warp only copies. It has a loop of its own, and a vote, so that the compiler need not think in
        // the other loop that lanes of a warp may be gone.
#pragma unroll 1
        for (int tile = 0; tile < num_tiles; ++tile) {
            next_tile(tile, num_tiles, start_tile);
        }
        return;
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
        if (!rows.all_rows_see(first_key + S::KEYS, warp_row)) {
            mask_scores(scores, rows, warp_row, first_key);
        }
        take_scores(scores, running, sums, scale_log2);
        add_values<HEAD_DIM, T>(scores, values + stage, sums);
    }
    write_rows<HEAD_DIM, T>(sums, running, queries, rows, first_row, head_dim);
}

// most_tokens: of a sequence, or of a tile; num_tiles: or sequences.
template <int HEAD_DIM, bool PAGED, typename T>
static int launch_tensor_cores(const void* query, const void* key, const void* value, void* out, int num_tiles,
                               int most_tokens, const Problem& problem, Pages pages, cudaStream_t stream) {
    using S = Sizes<HEAD_DIM>;
    if (PAGED) {
        pages.tile_pages = S::KEYS / pages.block_size;
        pages.tile_slots = S::KEYS % pages.block_size;
    }
    if (const cudaError_t error = allow_shared_memory(tensor_cores_kernel<HEAD_DIM, PAGED, T>, S::SHARED_BYTES)) {
        return error;
    }
    const int heads = PAGED ? problem.num_kv_heads : problem.num_heads;
    const int most_rows = PAGED ? most_tokens * (problem.num_heads / heads) : most_tokens;
    const dim3 grid((most_rows + S::ROWS - 1) / S::ROWS, heads, num_tiles);
    tensor_cores_kernel<HEAD_DIM, PAGED, T><<<grid, THREADS, S::SHARED_BYTES, stream>>>(
        static_cast<const T*>(query), static_cast<const T*>(key), static_cast<const T*>(value), static_cast<T*>(out),
        problem, pages);
    return cudaGetLastError();
}

// With the element type and the sizes for problem.head_dim, if this kernel takes them.
template <bool PAGED>
static int launch(const void* query, const void* key, const void* value, void* out, int num_tiles, int most_tokens,
                  const Problem& problem, const Pages& pages, int dtype, cudaStream_t stream) {
    if (num_tiles == 0 || most_tokens == 0) {
        return cudaSuccess;
    }
    if (problem.head_dim % 8 != 0 || problem.head_dim > 256 || !(problem.scale > 0.0f)) {
        return cudaErrorInvalidValue;
    }
    return dispatch_16_bit(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return dispatch_head_dim<64, 128, 256>(problem.head_dim, [&](auto size) {
            return launch_tensor_cores<size(), PAGED, T>(query, key, value, out, num_tiles, most_tokens, problem,
                                                         pages, stream);
        });
    });
}

extern "C" int flash_attention_4_tensor_cores(const void* query, const void* key, const void* value, void* out,
                                              const int* cu_seqlens_q, const int* cu_seqlens_k, int num_seqs,
                                              int max_q_len, int num_heads, int num_kv_heads, int head_dim, float scale,
                                              int causal, int dtype, cudaStream_t stream) {
    const Problem problem = {cu_seqlens_q, cu_seqlens_k, num_heads, num_kv_heads, head_dim, scale, causal != 0};
    return launch<false>(query, key, value, out, num_seqs, max_q_len, problem, Pages{}, dtype, stream);
}

// The same over the pages of a cache (../paged_attention/problem.cuh), causal.
// query, out: [num_tokens, num_heads, head_dim]
// key_cache, value_cache: [num_blocks, block_size, num_kv_heads, head_dim], of less than 2^31 slots (tokens)
// block_tables: [num_seqs, max_blocks]; entries beyond what the queries see are not read
// tiles: [num_tiles] of (row of block_tables, first row of query, number of tokens, keys that the first of them sees);
//     each later token of a tile sees one more. tile_tokens: no tile has more tokens.
extern "C" int flash_attention_4_paged(const void* query, const void* key_cache, const void* value_cache,
                                       const int* block_tables, const int4* tiles, void* out, int num_tiles,
                                       int tile_tokens, int num_heads, int num_kv_heads, int head_dim, int block_size,
                                       int max_blocks, float scale, int dtype, cudaStream_t stream) {
    const Problem problem = {nullptr, nullptr, num_heads, num_kv_heads, head_dim, scale, true};
    const Pages pages = {block_tables, tiles, block_size, max_blocks, 0, 0};
    return launch<true>(query, key_cache, value_cache, out, num_tiles, tile_tokens, problem, pages, dtype, stream);
}
