// What the rungs for Hopper (5 and 6) share: tiles in shared memory as TMA writes them and wgmma reads them, a ring of
// stages between those who copy and those who compute, and the softmax of a warpgroup. For sm_90a.
//
// A tile has rows of HEAD_DIM elements, in parts of 64 columns (128 bytes), one part behind the other. Within a part a
// row has 8 chunks of 16 bytes; chunk c of row r lies at place c ^ r % 8 of it. That is TMA's 128-byte swizzle: in it
// neither a row nor a column of chunks meets a bank twice. Tiles lie on 1024 bytes, where this pattern begins anew.
#pragma once
#include <yaie_hopper.cuh>

#include "../fragments.cuh"
#include "problem.cuh"

constexpr int WARPGROUP = 128;            // threads
constexpr int PART = 64, PART_BYTES = 128;  // columns of a part of a tile, and the bytes of a row of it
constexpr int PATTERN_BYTES = 1024;       // 8 rows of a part: the swizzle repeats itself
constexpr float LOG2_E = 1.44269504f;
constexpr int PRODUCER_BARRIER = 1;  // named; of the warps of a producer

template <int ROWS, int HEAD_DIM>
constexpr int TILE_BYTES = ROWS * HEAD_DIM * 2;

// Where keys and values lie, if not one after the other: see flash_attention_6_paged.
struct Pages {
    const int* block_tables;
    const int4* tiles;
    int block_size, max_blocks;
};

// Some rows of queries of one head of keys and values, and what they see. Row r is token r / pack, and query head
// head + r % pack: over pages the heads that share keys lie in one tile; without pages pack is 1.
struct Queries {
    int first_q, head, num_rows;  // num_rows 0: there is nothing to do
    int first_sees, kv_len;       // keys that the first token sees; each token sees one more, up to kv_len
    int kv_head, first_k;         // the row of key where the sequence begins
    const int* block_table;       // of the sequence, or nullptr

    __device__ int visible_keys(int token) const { return max(0, min(first_sees + token, kv_len)); }
    template <int KEYS>
    __device__ int num_tiles(int pack) const {
        return max(1, (visible_keys((num_rows - 1) / pack) + KEYS - 1) / KEYS);
    }
};

// Part number `part` of the queries of a head of a sequence, ROWS rows each.
template <int ROWS>
__device__ __forceinline__ Queries queries_of(const Problem& problem, int seq, int head, int part) {
    const int begin_q = problem.cu_seqlens_q[seq], q_len = problem.cu_seqlens_q[seq + 1] - begin_q;
    const int begin_k = problem.cu_seqlens_k[seq], kv_len = problem.cu_seqlens_k[seq + 1] - begin_k;
    Queries queries;
    queries.first_q = begin_q + part * ROWS;
    queries.head = head;
    queries.num_rows = max(0, min(ROWS, q_len - part * ROWS));
    queries.first_sees = problem.causal ? kv_len - q_len + 1 + part * ROWS : kv_len;
    queries.kv_len = kv_len;
    queries.kv_head = head / (problem.num_heads / problem.num_kv_heads);
    queries.first_k = begin_k;
    queries.block_table = nullptr;
    return queries;
}

// ---- tiles

// Where the 16-byte chunk of a row lies in a tile, in bytes. Chunks are counted through all parts.
template <int ROWS>
__device__ __forceinline__ int place(int row, int chunk) {
    return chunk / 8 * (ROWS * PART_BYTES) + row * PART_BYTES + (chunk ^ row) % 8 * 16;
}

// 16 columns of a tile as an operand whose rows are the product's rows or columns: queries and keys (K-major). Number
// `step` of them, of the rows from first_row on, a multiple of 8. From 8 rows to the next 8 is the stride. A descriptor
// counts in 16 bytes, so a sum moves it: that is cheaper than to make one for each step.
template <int ROWS>
__device__ __forceinline__ uint64_t columns_operand(const char* tile, int first_row, int step) {
    const int part = step / 4 * (ROWS * PART_BYTES), within = step % 4 * 32;
    return yaie::wgmma_descriptor(tile + first_row * PART_BYTES, 16, PATTERN_BYTES, yaie::SWIZZLE_128B) +
           (part + within) / 16;
}

// 16 rows of a tile as an operand whose columns are the product's columns: values (MN-major). From one part of the
// columns to the next is the leading offset, from 8 rows to the next 8 the stride.
template <int ROWS>
__device__ __forceinline__ uint64_t rows_operand(const char* tile, int step) {
    return yaie::wgmma_descriptor(tile, ROWS * PART_BYTES, PATTERN_BYTES, yaie::SWIZZLE_128B) +
           step * (2 * PATTERN_BYTES / 16);
}

// Start scores = queries * keys^T for the 64 rows from first_row on of a tile of ROWS queries.
template <typename T, int HEAD_DIM, int ROWS, int KEYS>
__device__ __forceinline__ void start_scores(float (&scores)[KEYS / 2], const char* queries, int first_row,
                                             const char* keys) {
    yaie::wgmma_fence();
#pragma unroll
    for (int step = 0; step < HEAD_DIM / 16; ++step) {
        yaie::wgmma_ss<T, KEYS>(scores, columns_operand<ROWS>(queries, first_row, step),
                                columns_operand<KEYS>(keys, 0, step), step > 0);
    }
    yaie::wgmma_commit();
}

// Start sums += weights * values.
template <typename T, int HEAD_DIM, int KEYS>
__device__ __forceinline__ void start_sums(float (&sums)[HEAD_DIM / 2], const uint32_t (&weights)[KEYS / 16][4],
                                           const char* values) {
    yaie::wgmma_fence();
#pragma unroll
    for (int step = 0; step < KEYS / 16; ++step) {
        yaie::wgmma_rs<T, HEAD_DIM, true>(sums, weights[step], rows_operand<KEYS>(values, step), true);
    }
    yaie::wgmma_commit();
}

// ---- the ring of stages

// Slots for tiles that are filled and emptied in turn. Use n of the ring is of slot n % SLOTS, in lap n / SLOTS. Each
// lap has one phase of `full` and one of `empty`.
template <int SLOTS>
struct Ring {
    uint64_t full[SLOTS], empty[SLOTS];

    // By one thread, before anybody uses it. So many arrivals fill a slot, and empty it.
    __device__ void init(int fillers, int emptiers) {
        for (int slot = 0; slot < SLOTS; ++slot) {
            yaie::mbarrier_init(&full[slot], fillers);
            yaie::mbarrier_init(&empty[slot], emptiers);
        }
    }
    // Wait until the tile of use n is there. Its phase is that of the lap.
    __device__ void wait_full(unsigned n) { yaie::mbarrier_wait(&full[n % SLOTS], n / SLOTS % 2); }
    // Wait until the slot of use n is free: until the lap before has emptied it. In lap 0 it is free from the start,
    // and waiting for the phase "before the first", of parity 1, returns at once.
    __device__ void wait_empty(unsigned n) { yaie::mbarrier_wait(&empty[n % SLOTS], n / SLOTS % 2 ^ 1); }
    // The tile of use n will not be read any more by those for whom this thread speaks.
    __device__ void release(unsigned n) { yaie::mbarrier_arrive(&empty[n % SLOTS]); }
};

// ---- copies, by the warps of the producer

// Copies tiles of keys and values into a ring, in the order in which they are needed. A tile whose keys all exist goes
// by TMA; the last of a sequence, where zeros take the place of what lies behind it, and those of small pages by
// cp.async. All lanes of WARPS warps call it; `warp` is the number of this one among them.
template <typename T, int HEAD_DIM, int KEYS, int WARPS, int SLOTS, bool PAGED>
struct Producer {
    static constexpr int CHUNKS = HEAD_DIM / 8, ROWS_AT_ONCE = 32 / CHUNKS, PARTS = HEAD_DIM / PART;
    static constexpr int BYTES = TILE_BYTES<KEYS, HEAD_DIM>;

    Ring<SLOTS>* ring;
    char* slots;
    Pages pages;
    int box_keys, boxes;  // over pages: keys of a page that TMA copies at once, and how many of them are a tile; 0, 0: none
    int key_stride;
    int warp;
    unsigned uses = 0;

    __device__ bool by_tma(const Queries& queries, int first) const {
        return (!PAGED || boxes > 0) && first + KEYS <= queries.kv_len;
    }

    // Over pages: the slot in the cache of what this lane will copy, a box or one key of 32, of the tile that begins with
    // key `first`.
    __device__ int find(const Queries& queries, int first) const {
        const int lane = threadIdx.x % 32;
        const int key = first + (by_tma(queries, first) ? box_of(lane) / PARTS * box_keys : 32 * warp + lane);
        if (!PAGED || key >= queries.kv_len) {
            return 0;
        }
        const unsigned size = pages.block_size, page = key / size;
        return queries.block_table[page] * size + (key - page * size);
    }

    // Without pages a tile is one box for each part, which the last warp asks for: the others do not even wait.
    __device__ bool only_one() const { return !PAGED && WARPS > 1; }
    __device__ bool is_last() const { return warp == WARPS - 1; }

    // A box has keys that lie one after the other, and one part of the columns. Each lane of the warps starts one.
    __device__ int box_of(int lane) const { return PAGED ? lane * WARPS + warp : lane; }

    // The tile of keys (or values) that begins with key `first` into the next slot. row: what `find` found.
    __device__ void load(const Queries& queries, int first, int row, const CUtensorMap* map, const T* rows) {
        const bool tma = by_tma(queries, first);
        if (!(tma && only_one()) || is_last()) {
            ring->wait_empty(uses);
            char* slot = slots + uses % SLOTS * BYTES;
            if (tma) {
                start_tma(queries, first, row, map, slot);
            } else {
                start_cp_async(queries, first, row, rows + queries.kv_head * HEAD_DIM, slot);
            }
        }
        ++uses;
    }

    __device__ void start_tma(const Queries& queries, int first, int row, const CUtensorMap* map, char* slot) {
        uint64_t* full = &ring->full[uses % SLOTS];
        const int lane = threadIdx.x % 32, box = box_of(lane), num_boxes = PARTS * (PAGED ? boxes : 1);
        if (lane == 0) {
            const int own_boxes = PAGED ? (num_boxes - warp + WARPS - 1) / WARPS : num_boxes;
            yaie::mbarrier_arrive_expect_tx(full, own_boxes * (PAGED ? box_keys : KEYS) * PART_BYTES);
        }
        __syncwarp();
        if (box < num_boxes) {
            const int part = box % PARTS, key = PAGED ? box / PARTS * box_keys : 0;
            yaie::tma_load(slot + part * (KEYS * PART_BYTES) + key * PART_BYTES, map, full, 0,
                           PAGED ? row : queries.first_k + first + key, queries.kv_head * PARTS + part);
        }
    }

    __device__ void start_cp_async(const Queries& queries, int first, int row, const T* rows, char* slot) {
        static_assert(!PAGED || KEYS == 32 * WARPS, "`find` looks once");
        const int lane = threadIdx.x % 32, chunk = lane % CHUNKS, valid = queries.kv_len - first;
        if (PAGED) {  // 32 rows of each warp, of which each lane knows where one lies
#pragma unroll 1
            for (int i = lane / CHUNKS; i < 32; i += ROWS_AT_ONCE) {
                const int64_t from = __shfl_sync(FULL_WARP, row, i);
                yaie::cp_async_16(slot + place<KEYS>(32 * warp + i, chunk), rows + from * key_stride + 8 * chunk,
                                  32 * warp + i < valid ? 16 : 0);
            }
        } else {
            constexpr int STEP = WARPS * ROWS_AT_ONCE;
            int i = warp * ROWS_AT_ONCE + lane / CHUNKS;
            const T* from = rows + static_cast<int64_t>(queries.first_k + first + i) * key_stride + 8 * chunk;
#pragma unroll 4
            for (; i < KEYS; i += STEP, from += STEP * key_stride) {
                yaie::cp_async_16(slot + place<KEYS>(i, chunk), from, i < valid ? 16 : 0);
            }
        }
        // Nobody here waits for them: the slot is full when they have landed. Whoever reads it by wgmma fences.
        uint64_t* full = &ring->full[uses % SLOTS];
        yaie::mbarrier_expect_cp_async(full);
        if (only_one()) {  // who arrives for all
            yaie::named_barrier_sync(PRODUCER_BARRIER, 32 * WARPS);
        }
        __syncwarp();
        if (lane == 0 && (!only_one() || is_last())) {
            yaie::mbarrier_arrive(full);
        }
    }
};

// ---- softmax, by the threads of a consumer warpgroup

// Thread t has two rows of the 64: 16 * (t / 32) + t % 32 / 4, and that + 8; element i of an accumulator is of the
// first where i / 2 is even, and of column 8 * (i / 4) + 2 * (t % 4) + i % 2.
__device__ __forceinline__ int own_row(int half) {
    return threadIdx.x % WARPGROUP / 32 * 16 + threadIdx.x % 32 / 4 + 8 * half;
}

// Of the thread's two rows. The sum covers the thread's own columns only.
struct RunningRows {
    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
};

// Set the scores of keys behind the ends[half] first ones of this tile to -inf.
template <int N>
__device__ __forceinline__ void mask_scores(float (&scores)[N], const int (&ends)[2]) {
    const int own_column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < N; ++i) {
        if (8 * (i / 4) + i % 2 + own_column >= ends[i / 2 % 2]) {
            scores[i] = -INFINITY;
        }
    }
}

// Of the thread's two rows, while a tile is taken in. factors: what all that was added up before is to be scaled by.
struct Softmax {
    float scale_log2;
    float shift[2], factors[2];
    float sum[2][2];  // of this tile, of even and odd columns: four chains, for a sum waits for the sum before it
};

// Take the scores of a tile into the running maxima.
template <int N>
__device__ __forceinline__ void take_maxima(const float (&scores)[N], RunningRows& running, Softmax& softmax) {
    float most[2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        most[half][0] = most[half][1] = running.most[half];
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
        most[i / 2 % 2][i % 2] = fmaxf(most[i / 2 % 2][i % 2], scores[i]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float of_row = fmaxf(most[half][0], most[half][1]);
        of_row = fmaxf(of_row, __shfl_xor_sync(FULL_WARP, of_row, 1));  // the four lanes that share a row
        of_row = fmaxf(of_row, __shfl_xor_sync(FULL_WARP, of_row, 2));
        softmax.shift[half] = of_row == -INFINITY ? 0.0f : of_row * softmax.scale_log2;  // no key seen: 0, not NaN
        softmax.factors[half] = yaie::fast_exp2(running.most[half] * softmax.scale_log2 - softmax.shift[half]);
        running.most[half] = of_row;
        softmax.sum[half][0] = softmax.sum[half][1] = 0.0f;
    }
}

// Turn the scores into weights, 2^(scale_log2 * (score - maximum of its row)).
template <int N>
__device__ __forceinline__ void weigh(float (&scores)[N], Softmax& softmax) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
        scores[i] = yaie::fast_exp2(scores[i] * softmax.scale_log2 - softmax.shift[i / 2 % 2]);
        softmax.sum[i / 2 % 2][i % 2] += scores[i];
    }
}

// Add the sums of a tile, all of whose scores are weights now, to the running ones.
__device__ __forceinline__ void take_sums(RunningRows& running, const Softmax& softmax) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        running.sum[half] = running.sum[half] * softmax.factors[half] + softmax.sum[half][0] + softmax.sum[half][1];
    }
}

// All of it at once.
template <int N>
__device__ __forceinline__ void take_scores(float (&scores)[N], RunningRows& running, Softmax& softmax) {
    take_maxima(scores, running, softmax);
    weigh(scores, softmax);
    take_sums(running, softmax);
}

// The weights as the left operand of the product with values: of 16 keys, elements 8 * step to 8 * step + 7, a thread
// needs exactly what it has.
template <typename T, int N>
__device__ __forceinline__ void pack_weights(const float (&weights)[N], uint32_t (&operand)[N / 8][4]) {
#pragma unroll
    for (int step = 0; step < N / 8; ++step) {
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            operand[step][pair] = pack<T>(weights[8 * step + 2 * pair], weights[8 * step + 2 * pair + 1]);
        }
    }
}

template <int N>
__device__ __forceinline__ void rescale(float (&sums)[N], const float (&factors)[2]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
        sums[i] *= factors[i / 2 % 2];
    }
}

// Among four lanes, a transpose: lane q gets as words[k] the word q of lane k. Each had 2 columns of four blocks of 8;
// each has a block then.
__device__ __forceinline__ void exchange(uint32_t (&words)[4]) {
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {
        const bool upper = threadIdx.x & distance;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if ((i & distance) == 0) {
                uint32_t &low = words[i], &high = words[i | distance];
                const uint32_t got = __shfl_xor_sync(FULL_WARP, upper ? low : high, distance);
                low = upper ? got : low;
                high = upper ? high : got;
            }
        }
    }
}

// Divide by the sums of the weights, and write the thread's rows, 16 bytes at a time. targets: where the rows begin in
// the output; nullptr: not there.
template <typename T, int N>
__device__ __forceinline__ void write_rows(const float (&sums)[N], const RunningRows& running, T* const (&targets)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float sum = running.sum[half];
        sum += __shfl_xor_sync(FULL_WARP, sum, 1);
        sum += __shfl_xor_sync(FULL_WARP, sum, 2);
        const float share = sum > 0.0f ? 1.0f / sum : 0.0f;
#pragma unroll
        for (int i = 2 * half; i < N; i += 16) {  // four blocks of 8 columns
            uint32_t words[4];
#pragma unroll
            for (int block = 0; block < 4; ++block) {
                words[block] = pack<T>(sums[i + 4 * block] * share, sums[i + 4 * block + 1] * share);
            }
            exchange(words);
            if (targets[half] != nullptr) {
                reinterpret_cast<uint4*>(targets[half])[i / 4 + threadIdx.x % 4] =
                    make_uint4(words[0], words[1], words[2], words[3]);
            }
        }
    }
}

// ---- on the host

// A map of [num_rows, num_heads, head_dim] as parts of 64 columns: innermost a row of a part, then the rows, then the
// parts of all heads. (Of no rows TMA makes no map; nothing will be loaded by it.)
template <typename T>
static cudaError_t map_of_rows(CUtensorMap* map, const void* base, int64_t num_rows, int num_heads, int head_dim,
                               int box_rows) {
    const uint64_t rows = num_rows > 0 ? num_rows : 1, parts = static_cast<uint64_t>(num_heads) * (head_dim / PART);
    return yaie::tensor_map(map, static_cast<const T*>(base), {PART, rows, parts}, {parts * PART_BYTES, PART_BYTES},
                            {PART, static_cast<uint32_t>(box_rows), 1}, CU_TENSOR_MAP_SWIZZLE_128B);
}

// With the element type and the head_dim, if the kernels for Hopper take them: f(null pointer to the type, head_dim as
// an std::integral_constant).
template <typename F>
static int dispatch_hopper(const Problem& problem, int dtype, F f) {
    if ((problem.head_dim != 64 && problem.head_dim != 128) || !(problem.scale > 0.0f)) {
        return cudaErrorInvalidValue;
    }
    return dispatch_16_bit(dtype, [&](auto* type) -> int {
        return dispatch_head_dim<64, 128>(problem.head_dim, [&](auto size) { return f(type, size); });
    });
}
