// Attention of up to 16 rows on tensor cores (mma.sync), for decodes: rung 6, and shared pages. The rows see all keys that
// the block has, and its warps share these out.
#pragma once
#include "../fragments.cuh"
#include "grouped.cuh"

constexpr int STAGES = 2;      // tiles of a warp in shared memory: one is worked on, one is in flight
constexpr int CHUNK_KEYS = 32;  // keys whose slots the lanes of a warp have

// The sizes for one head_dim; smaller ones are filled up with zeros.
template <typename T, int HEAD_DIM>
struct Fragments {
    using Element = T;
    static constexpr int WARP_ROWS = 16;               // of an mma; all warps have the same
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

// The left operands of the scores: the queries of this block, 16 columns each. 0 where there is no row and beyond
// head_dim.
template <typename F, typename T, typename Share>
__device__ __forceinline__ void load_queries(const F& me, const Attention<T>& a, const Share& share,
                                             uint32_t (&query)[F::CHUNKS / 2][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = me.lane / 4 + 8 * half;
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

// Write this warp's part of the rows, and the logarithm of their weights (-FLT_MAX where it had no keys).
template <typename F>
__device__ __forceinline__ void write_part(const F& me, RunningRows& running, const float (&sums)[F::CHUNKS][4],
                                           float (&part_out)[F::WARP_ROWS][F::PART_STRIDE],
                                           float (&part_lse)[F::WARP_ROWS][WARPS]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float total = running.row[half].total;
        total += __shfl_xor_sync(FULL_WARP, total, 1);
        total += __shfl_xor_sync(FULL_WARP, total, 2);
        const float factor = total > 0.0f ? 1.0f / total : 0.0f;
        const int row = me.lane / 4 + 8 * half;
#pragma unroll
        for (int column = 0; column < F::CHUNKS; ++column) {
            *reinterpret_cast<float2*>(&part_out[row][8 * column + me.lane % 4 * 2]) =
                make_float2(sums[column][2 * half] * factor, sums[column][2 * half + 1] * factor);
        }
        if (me.lane % 4 == 0) {
            part_lse[row][me.warp] = total > 0.0f ? running.row[half].largest + log2f(total) : -FLT_MAX;
        }
    }
}

// Where the warps leave their parts of the rows: in the tiles' place.
template <typename F>
__device__ __forceinline__ auto& parts_of_warps(uint4* tiles) {
    return *reinterpret_cast<float(*)[WARPS][F::WARP_ROWS][F::PART_STRIDE]>(tiles);
}

// Attend with the rows of `share` to its keys. The warps of the block share out the keys, and their parts of the rows
// are there when this returns. `shared`: memory for the tiles of all warps.
template <typename F, typename T, typename Share>
__device__ __forceinline__ void attend(const F& me, const Attention<T>& a, Share& share, uint4* shared,
                                       float (&part_lse)[F::WARP_ROWS][WARPS]) {
    share_keys(me, share);
    uint32_t query[F::CHUNKS / 2][4];
    load_queries(me, a, share, query);
    RunningRows running;
    float sums[F::CHUNKS][4] = {};
    const int* block_table = a.block_tables + static_cast<int64_t>(share.tile.x) * a.max_blocks;
    const int64_t first_element = static_cast<int64_t>(share.kv_head) * a.head_dim;
    const KvHead<T> head = {a.key_cache + first_element, a.value_cache + first_element, a.head_dim};
    const int key_stride = a.num_kv_heads * a.head_dim * sizeof(T);  // in bytes
    uint4* tiles = shared + me.warp * F::WARP_TILES;                 // [STAGES][keys, values]

    // Start copying the tile that begins `ahead` keys behind `chunk`, if there is one. `slot`: of the chunk it is in.
    auto start = [&](int chunk, int ahead, int slot) {
        if (chunk + ahead < share.end) {
            uint4* tile = tiles + ahead / F::KEYS % STAGES * (2 * F::TILE);
            start_tile(me, head, slot, ahead % CHUNK_KEYS, key_stride, tile);
        }
        yaie::cp_async_commit();  // also where there is no more: the wait counts groups
    };
    auto slot_at = [&](int key) {
        return key < share.end ? slot_of_lane(block_table, key, share.end, a.block_size) : 0;
    };
    int slot = slot_at(share.begin);
    start(share.begin, 0, slot);
    start(share.begin, F::KEYS, slot);
    slot = slot_at(share.begin + CHUNK_KEYS);
#pragma unroll 1
    for (int chunk = share.begin; chunk < share.end; chunk += CHUNK_KEYS) {
#pragma unroll
        for (int stage = 0; stage < STAGES; ++stage) {
            const int ahead = stage * F::KEYS;
            uint4* keys = tiles + stage * (2 * F::TILE);
            yaie::cp_async_wait<STAGES - 1>();  // this tile is there, the next one may still be in flight
            __syncwarp();                       // what the other lanes have copied, too
            if (chunk + ahead < share.end) {
                float weights[2][4];
                weigh(me, query, keys, a.scale, share.end - chunk - ahead, running, sums, weights);
                add_values(me, weights, keys + F::TILE, sums);
            }
            __syncwarp();  // no lane reads the tile any more
            start(chunk, CHUNK_KEYS + ahead, slot);
        }
        slot = slot_at(chunk + 2 * CHUNK_KEYS);
    }
    __syncthreads();  // no warp needs its tiles any more
    auto& part_out = parts_of_warps<F>(shared);
    write_part(me, running, sums, part_out[me.warp], part_lse);
    __syncthreads();
}
