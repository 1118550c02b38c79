// How the 32 lanes of a warp share a tile of keys: LANES neighbouring lanes, a team, read one key at a time, each lane
// CHUNKS pieces of 16 bytes of it. Lane l of a team has pieces l, l + LANES, ...: the loads of a team are contiguous.
#pragma once
#include "../common.cuh"

constexpr int ROWS = 4;         // queries that a warp keeps in registers: all of them use each key and value it loads
constexpr int TILE_PIECES = 4;  // of keys that a lane reads in a tile; as many of values

// For keys of up to DIM elements: the fewest lanes that hold one in 16-byte pieces, at most the warp.
template <typename T, int DIM>
struct Layout {
    using Element = T;
    static constexpr int MAX_DIM = DIM;
    static constexpr int WARP_ROWS = ROWS;
    static constexpr int PIECE = 16 / sizeof(T);             // elements in 16 bytes
    static constexpr int CHUNKS = DIM > 32 * PIECE ? 2 : 1;  // pieces of a key that a lane reads
    static constexpr int LANES = DIM / PIECE / CHUNKS;       // of a team
    static constexpr int TEAMS = 32 / LANES;                 // keys that a warp reads with one instruction
    static constexpr int ROUNDS = TILE_PIECES / CHUNKS;      // such instructions in a tile
    static constexpr int KEYS = TEAMS * ROUNDS;              // keys in a tile
    static constexpr int SCORES = ROWS * ROUNDS;             // of a team in a tile
    static constexpr int MINE = SCORES > LANES ? SCORES / LANES : 1;    // scores that a lane has after reduce_scatter
    static constexpr int COPIES = LANES > SCORES ? LANES / SCORES : 1;  // lanes that have the same score
    static_assert(CHUNKS * LANES * PIECE == DIM && TEAMS * LANES == 32, "teams share a key evenly and fill a warp");

    // Where this lane has its place.
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int team = lane / LANES, member = lane % LANES;
    // The first of the MINE scores of its team that this lane has after reduce_scatter; score r * ROUNDS + i is that of
    // row r and the team's key in round i.
    int my_score = member / COPIES * MINE;
    int my_row = my_score / ROUNDS;
};

// What a lane has of each row of its warp, as floats.
template <typename L>
using RowPieces = float[ROWS][L::CHUNKS][L::PIECE];

// Two 16-bit elements as floats.
template <typename T>
__device__ void unpack_pair(unsigned raw, float& low, float& high);
template <>
__device__ __forceinline__ void unpack_pair<__half>(unsigned raw, float& low, float& high) {
    __half2 pair;
    memcpy(&pair, &raw, 4);
    low = __low2float(pair);
    high = __high2float(pair);
}
template <>
__device__ __forceinline__ void unpack_pair<__nv_bfloat16>(unsigned raw, float& low, float& high) {
    low = __uint_as_float(raw << 16);  // a bfloat16 is the upper half of a float
    high = __uint_as_float(raw & 0xffff0000u);
}

// 16 bytes of the cache as floats: four elements of float, or eight of a 16-bit type.
template <typename T>
__device__ __forceinline__ void unpack(const uint4& raw, float (&x)[4]) {
    x[0] = __uint_as_float(raw.x);
    x[1] = __uint_as_float(raw.y);
    x[2] = __uint_as_float(raw.z);
    x[3] = __uint_as_float(raw.w);
}
template <typename T>
__device__ __forceinline__ void unpack(const uint4& raw, float (&x)[8]) {
    unpack_pair<T>(raw.x, x[0], x[1]);
    unpack_pair<T>(raw.y, x[2], x[3]);
    unpack_pair<T>(raw.z, x[4], x[5]);
    unpack_pair<T>(raw.w, x[6], x[7]);
}

__device__ __forceinline__ float4 quad(const float* x, int i) {
    return make_float4(x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]);
}

// Sum up x[0], ..., x[COUNT - 1] over the lanes of a team. Lane l of the team gets the sums from number
// l / COPIES * MINE on, in x[0], ..., x[MINE - 1] (see Layout). In each step a lane gives half of its numbers to a
// partner and takes the other half: COUNT - 1 shuffles (some more if COUNT < LANES) instead of COUNT * log2(LANES).
template <int LANES, int COUNT>
__device__ __forceinline__ void reduce_scatter(float (&x)[COUNT], int lane) {
    int count = COUNT;
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
        if (count > 1) {
            count /= 2;
            const bool upper = lane & distance;
#pragma unroll
            for (int i = 0; i < COUNT / 2; ++i) {
                if (i < count) {
                    const float mine = upper ? x[i + count] : x[i];
                    const float theirs = upper ? x[i] : x[i + count];
                    x[i] = mine + __shfl_xor_sync(FULL_WARP, theirs, distance);
                }
            }
        } else {
            x[0] += __shfl_xor_sync(FULL_WARP, x[0], distance);
        }
    }
}
