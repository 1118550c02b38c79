// Attention on tensor cores (mma.sync), for decodes: rung 6, and shared pages. All rows of a thread block see all keys
// that it has. Up to 16 rows, those of an mma, are the same in every warp, and the warps share out the keys. Of more
// rows, up to 64, each warp has 16, and all warps read the same tiles.
#pragma once
#include "../fragments.cuh"
#include "grouped.cuh"

constexpr int STAGES = 2;      // tiles of a warp in shared memory: one is worked on, one is in flight

// The sizes for one head_dim; smaller ones are filled up with zeros.
template <typename T, int HEAD_DIM>
struct Fragments {
    using Element = T;
    static constexpr int WARP_ROWS = 16;               // of an mma
    static constexpr int MOST_ROWS = WARPS * WARP_ROWS;
    static constexpr int KEYS = 16;                    // of a warp's tile
    static constexpr int CHUNKS = HEAD_DIM / 8;        // of 16 bytes in a key
    static constexpr int TILE = KEYS * CHUNKS;         // chunks of a tile of keys, or of values
    static constexpr int WARP_TILES = 2 * STAGES * TILE;
    static constexpr int PART_STRIDE = HEAD_DIM + 8;   // floats from row to row: 4 rows of 4 lanes meet no bank twice
    static constexpr int SHARED_BYTES = 16 * WARPS * WARP_TILES;
    static_assert(WARPS * WARP_ROWS * PART_STRIDE * 4 <= SHARED_BYTES, "the parts of the warps take the tiles' place");

    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
};

// Where the 16-byte chunk of a key lies in a tile, so that ldmatrix, which reads a chunk of 8 keys, meets no bank
// twice.
template <typename F>
__device__ __forceinline__ int place(int key, int chunk) {
    return key * F::CHUNKS + (chunk ^ key % 8);
}

// The left operands of the scores: the queries from first_row on, 16 columns each. 0 where there is no row and beyond
// head_dim.
template <typename F, typename T, typename Share>
__device__ __forceinline__ void load_queries(const F& me, const Attention<T>& a, const Share& share, int first_row,
                                             uint32_t (&query)[F::CHUNKS / 2][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first_row + me.lane / 4 + 8 * half;
        const T* source = a.query + share.query_row(row) * a.head_dim + me.lane % 4 * 2;
#pragma unroll
        for (int chunk = 0; chunk < F::CHUNKS; ++chunk) {
            const bool exists = row < share.num_rows && 8 * chunk < a.head_dim;
            query[chunk / 2][chunk % 2 * 2 + half] =
                exists ? *reinterpret_cast<const uint32_t*>(source + 8 * chunk) : 0;
        }
    }
}

// Start copying a warp's tile of keys, and that of values behind it. `slot` is that of key number lane of 32, of which
// the tile's begin with first_key.
template <typename F, typename T>
__device__ __forceinline__ void start_tile(const F& me, const KvHead<T>& head, int slot, int first_key, int key_stride,
                                           uint4* tile) {
    const int chunk = me.lane % F::CHUNKS, bytes = 8 * chunk < head.head_dim ? 16 : 0;
    const char* keys = reinterpret_cast<const char*>(head.keys + (bytes ? 8 * chunk : 0));
    const char* values = reinterpret_cast<const char*>(head.values + (bytes ? 8 * chunk : 0));
#pragma unroll
    for (int i = 0; i < F::KEYS; i += 32 / F::CHUNKS) {
        const int key = i + me.lane / F::CHUNKS;
        const int64_t offset = static_cast<int64_t>(__shfl_sync(FULL_WARP, slot, first_key + key)) * key_stride;
        yaie::cp_async_16(&tile[place<F>(key, chunk)], keys + offset, bytes);
        yaie::cp_async_16(&tile[F::TILE + place<F>(key, chunk)], values + offset, bytes);
    }
}

// Of the rows lane / 4 and lane / 4 + 8. Both lie in four lanes, each with other keys.
struct RunningRows {
    Running row[2];
};

// The weights of a tile of keys, of which `count` exist, as accumulators: the maxima grow to the scores.
template <typename F>
__device__ __forceinline__ void weigh(const F& me, const uint32_t (&query)[F::CHUNKS / 2][4], const uint4* keys,
                                      float scale, int count, RunningRows& running, float (&sums)[F::CHUNKS][4],
                                      float (&weights)[2][4]) {
    float scores[2][4] = {};
#pragma unroll
    for (int chunk = 0; chunk < F::CHUNKS; chunk += 2) {
        uint32_t b[4];
        yaie::ldmatrix_x4(b, &keys[place<F>(me.lane / 16 * 8 + me.lane % 8, chunk + me.lane / 8 % 2)]);
        multiply<typename F::Element>(scores[0], query[chunk / 2], {b[0], b[1]});
        multiply<typename F::Element>(scores[1], query[chunk / 2], {b[2], b[3]});
    }
    float highest[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float& score = scores[i / 4][i % 4];
        score = i / 4 * 8 + me.lane % 4 * 2 + i % 2 < count ? score * scale : -INFINITY;
        highest[i % 4 / 2] = fmaxf(highest[i % 4 / 2], score);
    }
    if (__any_sync(FULL_WARP, highest[0] > running.row[0].largest || highest[1] > running.row[1].largest)) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            highest[half] = fmaxf(highest[half], __shfl_xor_sync(FULL_WARP, highest[half], 1));
            highest[half] = fmaxf(highest[half], __shfl_xor_sync(FULL_WARP, highest[half], 2));
            const float correction =
                grow_maximum(highest[half], running.row[half].largest, running.row[half].total);
#pragma unroll
            for (int column = 0; column < F::CHUNKS; ++column) {
                sums[column][2 * half] *= correction;
                sums[column][2 * half + 1] *= correction;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const float weight = exp2f(scores[i / 4][i % 4] - running.row[i % 4 / 2].largest);
        weights[i / 4][i % 4] = weight;
        running.row[i % 4 / 2].total += weight;
    }
}

// sums += weights * values of a tile.
template <typename F>
__device__ __forceinline__ void add_values(const F& me, const float (&weights)[2][4], const uint4* values,
                                           float (&sums)[F::CHUNKS][4]) {
    uint32_t a[4];
    to_operand<typename F::Element>(weights[0], weights[1], a);
#pragma unroll
    for (int column = 0; column < F::CHUNKS; column += 2) {
        uint32_t b[4];
        yaie::ldmatrix_x4_trans(b, &values[place<F>(me.lane % 16, column + me.lane / 16)]);
        multiply<typename F::Element>(sums[column], a, {b[0], b[1]});
        multiply<typename F::Element>(sums[column + 1], a, {b[2], b[3]});
    }
}

// One row of a warp's part: the factor that makes its sums a mean, and the logarithm of its weights (-FLT_MAX where it had
// no keys).
struct RowEnd {
    float factor, lse;
};
__device__ __forceinline__ RowEnd end_of_row(const Running& running) {
    float total = running.total;
    total += __shfl_xor_sync(FULL_WARP, total, 1);
    total += __shfl_xor_sync(FULL_WARP, total, 2);
    return total > 0.0f ? RowEnd{1.0f / total, running.largest + log2f(total)} : RowEnd{0.0f, -FLT_MAX};
}

// Write this warp's part of the rows.
template <typename F>
__device__ __forceinline__ void write_part(const F& me, const RunningRows& running, const float (&sums)[F::CHUNKS][4],
                                           float (&part_out)[F::WARP_ROWS][F::PART_STRIDE],
                                           float (&part_lse)[F::WARP_ROWS][WARPS]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const RowEnd end = end_of_row(running.row[half]);
        const int row = me.lane / 4 + 8 * half;
#pragma unroll
        for (int column = 0; column < F::CHUNKS; ++column) {
            *reinterpret_cast<float2*>(&part_out[row][8 * column + me.lane % 4 * 2]) =
                make_float2(sums[column][2 * half] * end.factor, sums[column][2 * half + 1] * end.factor);
        }
        if (me.lane % 4 == 0) {
            part_lse[row][me.warp] = end.lse;
        }
    }
}

// Attend with the rows of `share` to its keys. TOGETHER: all warps read all tiles, each with 16 rows of its own; else all
// have the same rows, and share out the keys. `shared`: memory for the tiles of all warps. It may be used anew when this
// returns.
template <bool TOGETHER, typename F, typename T, typename Share>
__device__ __forceinline__ void attend(const F& me, const Attention<T>& a, Share& share, uint4* shared,
                                       RunningRows& running, float (&sums)[F::CHUNKS][4]) {
    constexpr int TILES = TOGETHER ? WARPS : 1;  // that a warp works on at a time; it copies one of them
    constexpr int STEP = TILES * F::KEYS;        // keys from a tile that a warp copies to the next
    if constexpr (!TOGETHER) {
        share_keys(me, share);
    }
    const int first_row = TOGETHER ? me.warp * F::WARP_ROWS : 0;
    uint32_t query[F::CHUNKS / 2][4];
    load_queries(me, a, share, first_row, query);
    const int* block_table = a.block_tables + static_cast<int64_t>(share.tile.x) * a.max_blocks;
    const int64_t first_element = static_cast<int64_t>(share.kv_head) * a.head_dim;
    const KvHead<T> head = {a.key_cache + first_element, a.value_cache + first_element, a.head_dim};
    const int key_stride = a.num_kv_heads * a.head_dim * sizeof(T);  // in bytes
    uint4* mine = shared + me.warp * F::WARP_TILES;                  // that this warp copies: [STAGES][keys, values]
    uint4* first_tile = TOGETHER ? shared : mine;

    auto barrier = [] {
        if constexpr (TOGETHER) {
            __syncthreads();
        } else {
            __syncwarp();
        }
    };
    // The slots of the keys of STAGES tiles that this warp copies, one a lane: the first tile begins with `key`.
    auto slots_at = [&](int key) {
        const int of_lane = key + me.lane / F::KEYS * STEP + me.lane % F::KEYS;
        return key < share.end ? slot_of_token(block_table, min(of_lane, share.end - 1), a.block_size) : 0;
    };
    // Start copying the tile of a stage, if there is one. `slots` are of STAGES tiles, of which the first begins with `key`.
    auto start = [&](int key, int stage, int slots) {
        if (key + stage * STEP < share.end) {
            start_tile(me, head, slots, stage * F::KEYS, key_stride, mine + stage * (2 * F::TILE));
        }
        yaie::cp_async_commit();  // also where there is no more: the wait counts groups
    };
    const int ahead = TOGETHER ? me.warp * F::KEYS : 0;  // of the first tile, to the one that this warp copies
    int slots = slots_at(share.begin + ahead);
#pragma unroll
    for (int stage = 0; stage < STAGES; ++stage) {
        start(share.begin + ahead, stage, slots);
    }
    slots = slots_at(share.begin + STAGES * STEP + ahead);
#pragma unroll 1
    for (int key = share.begin; key < share.end; key += STAGES * STEP) {
#pragma unroll 1
        for (int stage = 0; stage < STAGES; ++stage) {
            yaie::cp_async_wait<STAGES - 1>();  // this tile is there, the next one may still be in flight
            barrier();                          // what others have copied, too
            const uint4* keys = first_tile + stage * (2 * F::TILE);
            int count = share.end - key - stage * STEP;  // of keys from this tile on
            if (first_row >= share.num_rows) {
                count = 0;
            }
#pragma unroll 1
            for (int tile = 0; tile < TILES && count > 0; ++tile) {
                float weights[2][4];
                weigh(me, query, keys, a.scale, count, running, sums, weights);
                add_values(me, weights, keys + F::TILE, sums);
                keys += F::WARP_TILES;
                count -= F::KEYS;
            }
            barrier();  // nobody reads the tile any more
            start(key + STAGES * STEP + ahead, stage, slots);
        }
        slots = slots_at(key + 2 * STAGES * STEP + ahead);
    }
    __syncthreads();  // no warp needs its tiles any more
}

// The end of `attend<false>`: merge the parts of the rows, which all warps have, and write each row. `alone`: to out; else as
// a part of it, number part_of(row), for a later merge. `shared`: memory for the tiles of all warps.
template <typename F, typename T, typename Share, typename PartOf>
__device__ __forceinline__ void merge_warps_of_tile(const F& me, const Attention<T>& a, const Share& share,
                                                    const RunningRows& running, const float (&sums)[F::CHUNKS][4],
                                                    uint4* shared, bool alone, PartOf part_of) {
    __shared__ float part_lse[F::WARP_ROWS][WARPS];
    auto& part_out = *reinterpret_cast<float(*)[WARPS][F::WARP_ROWS][F::PART_STRIDE]>(shared);
    write_part(me, running, sums, part_out[me.warp], part_lse);
    __syncthreads();
    for (int row = me.warp; row < share.num_rows; row += WARPS) {
        const int64_t part = alone ? share.query_row(row) : part_of(row);
        const float lse = merge_row(part_lse[row], part_out[0][row], WARPS, F::WARP_ROWS * F::PART_STRIDE, a.head_dim,
                                    [&](int d, const float (&merged)[4]) {
                                        if (alone) {
                                            store_four(a.out + part * a.head_dim + d, merged);
                                        } else {
                                            store_four(a.partial_out + part * a.head_dim + d, merged);
                                        }
                                    });
        if (!alone && me.lane == 0) {
            a.partial_lse[part] = lse;
        }
    }
}

// The end of `attend<true>`: write each row, as above. Each warp has all keys of its rows.
template <typename F, typename T, typename Share, typename PartOf>
__device__ __forceinline__ void write_rows(const F& me, const Attention<T>& a, const Share& share,
                                           const RunningRows& running, const float (&sums)[F::CHUNKS][4], bool alone,
                                           PartOf part_of) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const RowEnd end = end_of_row(running.row[half]);
        const int row = me.warp * F::WARP_ROWS + me.lane / 4 + 8 * half;
        if (row >= share.num_rows) {
            continue;
        }
        auto store_to = [&](auto* out, auto store) {  // the columns of this lane in a row that begins at `out`
#pragma unroll
            for (int column = 0; column < F::CHUNKS; ++column) {
                if (8 * column < a.head_dim) {
                    store(out + 8 * column + me.lane % 4 * 2, sums[column][2 * half] * end.factor,
                          sums[column][2 * half + 1] * end.factor);
                }
            }
        };
        if (alone) {
            store_to(a.out + share.query_row(row) * a.head_dim, [](T* to, float left, float right) {
                *reinterpret_cast<uint32_t*>(to) = pack<T>(left, right);
            });
            continue;
        }
        const int64_t part = part_of(row);
        store_to(a.partial_out + part * a.head_dim, [](float* to, float left, float right) {
            *reinterpret_cast<float2*>(to) = make_float2(left, right);
        });
        if (me.lane % 4 == 0) {
            a.partial_lse[part] = end.lse;
        }
    }
}
