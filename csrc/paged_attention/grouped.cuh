// The kernel of rungs 3, 4 and 5 and of prefill: a warp takes ROWS queries that read the same KV head, and tiles of
// several keys. Rows are pairs of a token of the tile of queries and a head of the group.
//
// Lanes load 16 bytes each (layout.cuh), each key and value serves all rows of the warp, and one round of shuffles sums
// up the dot products of a tile. The warps of a thread block that have the same rows share out the keys, and merge.
//
// How keys and values come from memory is the `Loader`'s business: InRegisters here, InSharedMemory in rung 5.
#pragma once
#include "layout.cuh"
#include "splits.cuh"

#include <cfloat>

// Which rows a warp has, and which keys.
struct Share {
    int4 tile;  // see tile_of
    int num_heads, group, kv_head;
    int first_row, num_rows;     // of this thread block
    int key_warps;               // warps of the block that have the same rows
    int warp_row;                // first row of this warp, counted in the block
    int split_begin, split_end;  // the keys of this block
    int begin, end;              // the keys of this warp

    __device__ __forceinline__ bool has_nothing() const {
        return num_rows <= 0 || (split_begin >= split_end && blockIdx.y > 0);
    }
    __device__ __forceinline__ bool has_work() const { return begin < end && warp_row < num_rows; }

    // Row r of this block: a token of the tile, and one of the query heads that read this KV head.
    __device__ __forceinline__ int token_of(int row) const { return tile.z == 1 ? 0 : (first_row + row) / group; }
    __device__ __forceinline__ int64_t query_row(int row) const {
        const int token = token_of(row);
        return static_cast<int64_t>(tile.y + token) * num_heads + kv_head * group + first_row + row - token * group;
    }
};

// Grid: (num_kv_heads * blocks for the rows of a tile, num_splits, num_tiles).
template <typename L, typename T>
__device__ __forceinline__ Share share_of_this_warp(const L& me, const Attention<T>& a) {
    Share s;
    s.num_heads = a.num_heads;
    s.group = a.num_heads / a.num_kv_heads;
    s.key_warps = WARPS / a.row_warps;
    const int block_rows = L::WARP_ROWS * a.row_warps;
    s.tile = tile_of(a, blockIdx.z);
    s.kv_head = blockIdx.x % a.num_kv_heads;
    s.first_row = blockIdx.x / a.num_kv_heads * block_rows;
    s.num_rows = min(s.tile.z * s.group - s.first_row, block_rows);
    s.warp_row = me.warp / s.key_warps * L::WARP_ROWS;
    const int context_len = s.tile.w + s.token_of(s.num_rows - 1);  // what the last row sees
    const int split_len = keys_per_split(a, context_len);
    s.split_begin = blockIdx.y * split_len;
    s.split_end = min(s.split_begin + split_len, context_len);
    return s;
}

// The warps that have the same rows take equal parts of the split, whole tiles if possible.
template <typename L>
__device__ __forceinline__ void share_keys(const L& me, Share& s) {
    const int each = (s.split_end - s.split_begin + s.key_warps - 1) / s.key_warps;
    const int warp_len = (each + L::KEYS - 1) / L::KEYS * L::KEYS;
    s.begin = s.split_begin + me.warp % s.key_warps * warp_len;
    s.end = min(s.begin + warp_len, s.split_end);
}

// This lane's pieces of the warp's queries, times the scale (0 where there is no row and beyond head_dim), and of their
// outputs, which begin at 0.
template <typename L, typename T>
__device__ __forceinline__ void load_queries(const L& me, const Attention<T>& a, const Share& share,
                                             RowPieces<L>& query, RowPieces<L>& sums) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
        for (int j = 0; j < L::CHUNKS; ++j) {
            const int d = (me.member + j * L::LANES) * L::PIECE;
            uint4 raw = make_uint4(0, 0, 0, 0);
            if (share.warp_row + r < share.num_rows && d < a.head_dim) {
                raw = *reinterpret_cast<const uint4*>(a.query + share.query_row(share.warp_row + r) * a.head_dim + d);
            }
            unpack<T>(raw, query[r][j]);
#pragma unroll
            for (int i = 0; i < L::PIECE; ++i) {
                query[r][j][i] *= a.scale;
                sums[r][j][i] = 0.0f;
            }
        }
    }
}

// ---- keys and values

// The rows of keys (and of values) that a lane reads in a tile, one per round: elements from the first of the KV head.
template <typename L>
using RowOffsets = int64_t[L::ROUNDS];

// The page walk, for 32 keys at once: lane l finds the slot of key number first + l. Behind the end it repeats the last
// key, whose score will be masked: nothing that another sequence left in the pool can get in.
__device__ __forceinline__ int slot_of_lane(const int* block_table, int first, int end, int block_size) {
    return slot_of_token(block_table, min(first + static_cast<int>(threadIdx.x % 32), end - 1), block_size);
}

// Where this lane's keys of a tile begin: the tile that begins with key first_key of the 32 whose slots the lanes have.
template <typename L>
__device__ __forceinline__ void find_rows(const L& me, int slot, int first_key, int64_t token_stride,
                                          RowOffsets<L>& offsets) {
#pragma unroll
    for (int round = 0; round < L::ROUNDS; ++round) {
        offsets[round] = __shfl_sync(FULL_WARP, slot, first_key + round * L::TEAMS + me.team) * token_stride;
    }
}

// A lane's pieces of the keys (or values) of a tile.
template <typename L, typename T>
__device__ __forceinline__ void load_pieces(const L& me, uint4 (&raw)[TILE_PIECES], const T* rows,
                                            const RowOffsets<L>& offsets, int head_dim) {
#pragma unroll
    for (int round = 0; round < L::ROUNDS; ++round) {
#pragma unroll
        for (int j = 0; j < L::CHUNKS; ++j) {
            const int d = (me.member + j * L::LANES) * L::PIECE;
            if (d < head_dim) {  // else it stays 0
                raw[round * L::CHUNKS + j] = *reinterpret_cast<const uint4*>(rows + offsets[round] + d);
            }
        }
    }
}

// The keys and values of one KV head, of all pages.
template <typename T>
struct KvHead {
    const T *keys, *values;
    int head_dim;
};

// Loads a warp's tiles into registers. While a tile is worked on, the next one is loaded into the registers that are
// free already.
template <typename Layout>
struct InRegisters {
    using L = Layout;
    using Head = KvHead<typename L::Element>;
    static constexpr int AHEAD = 1;            // which tile is asked for when one has been worked on
    static constexpr int RESIDENT_BLOCKS = 0;  // on a multiprocessor: as many as the compiler finds room for
    static constexpr bool MERGES_SPLITS = false;  // the last thread block of a context; else another kernel does
    uint4 value[TILE_PIECES] = {}, key[TILE_PIECES] = {};

    // Ask for one of the first AHEAD tiles, if it exists; `offsets` are those of its rows.
    __device__ __forceinline__ void start(const L& me, const Head& head, const RowOffsets<L>& offsets, int,
                                          bool exists) {
        if (exists) {
            load_pieces(me, key, head.keys, offsets, head.head_dim);
            load_pieces(me, value, head.values, offsets, head.head_dim);
        }
    }
    // Before a tile is worked on: wait until it is there.
    __device__ __forceinline__ void wait() {}
    __device__ __forceinline__ uint4 key_piece(int, int i) const { return key[i]; }
    __device__ __forceinline__ uint4 value_piece(int, int i) const { return value[i]; }
    // The keys of a tile have been used, and there is a tile AHEAD of it, with rows at `offsets`.
    __device__ __forceinline__ void load_keys(const L& me, const Head& head, const RowOffsets<L>& offsets) {
        load_pieces(me, key, head.keys, offsets, head.head_dim);
    }
    // The values have been used as well; `exists`: whether there is a tile AHEAD of it.
    __device__ __forceinline__ void load_rest(const L& me, const Head& head, const RowOffsets<L>& offsets, int,
                                              bool exists) {
        if (exists) {
            load_pieces(me, value, head.values, offsets, head.head_dim);
        }
    }
};

// ---- a tile

// The softmax of this lane's row (Layout::my_row), as far as this warp has its keys. All lanes of a row keep its
// maximum, and each lane the sum of the weights that it computes itself.
struct Running {
    float largest = -FLT_MAX;  // not -inf: masked scores are, and inf - inf is not a number
    float total = 0.0f;
};

// A team's scores of a tile, over the pieces of this lane: score r * ROUNDS + i for row r and the key of round i.
template <typename L, typename Loader>
__device__ __forceinline__ void score_keys(const RowPieces<L>& query, const Loader& loader, int buffer,
                                           float (&score)[L::SCORES]) {
#pragma unroll
    for (int round = 0; round < L::ROUNDS; ++round) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            score[r * L::ROUNDS + round] = 0.0f;
        }
#pragma unroll
        for (int j = 0; j < L::CHUNKS; ++j) {
            float k[L::PIECE];
            unpack<typename L::Element>(loader.key_piece(buffer, round * L::CHUNKS + j), k);
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
#pragma unroll
                for (int i = 0; i < L::PIECE; ++i) {
                    score[r * L::ROUNDS + round] += query[r][j][i] * k[i];
                }
            }
        }
    }
}

// Mask the scores that this lane has of the tile that begins at `first_key`, and let the maximum grow to them.
// `visible`: the keys that the lane's row sees, as far as this warp has them.
template <typename L>
__device__ __forceinline__ void take_scores(const L& me, float (&score)[L::SCORES], int first_key, int visible,
                                            Running& running, RowPieces<L>& sums) {
    float highest = -INFINITY;
#pragma unroll
    for (int i = 0; i < L::MINE; ++i) {
        const int position = first_key + (me.my_score + i) % L::ROUNDS * L::TEAMS + me.team;
        score[i] = position < visible ? score[i] : -INFINITY;
        highest = fmaxf(highest, score[i]);
    }
    // The maximum rarely grows once some keys have been seen; only then is there something to correct.
    if (__any_sync(FULL_WARP, highest > running.largest)) {
#pragma unroll
        for (int distance = 1; distance < 32; distance *= 2) {
            if (distance < L::LANES / ROWS || distance >= L::LANES) {  // the lanes that have scores of my row
                highest = fmaxf(highest, __shfl_xor_sync(FULL_WARP, highest, distance));
            }
        }
        const float correction = grow_maximum(highest, running.largest, running.total);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const float of_row = __shfl_sync(FULL_WARP, correction, r * (L::LANES / ROWS));
#pragma unroll
            for (int j = 0; j < L::CHUNKS; ++j) {
#pragma unroll
                for (int i = 0; i < L::PIECE; ++i) {
                    sums[r][j][i] *= of_row;
                }
            }
        }
    }
}

// The weights of a tile, by team; one of the two buffers of a warp in shared memory.
template <typename L>
using TileWeights = float4[L::TEAMS * L::SCORES / 4];

// Turn the scores that this lane has into weights, and get those of all rows for the keys of its team. They are handed
// round through shared memory. Tiles take the two buffers in turn: whoever writes the next tile's weights does not
// overwrite what a slower lane still reads.
template <typename L>
__device__ __forceinline__ void share_weights(const L& me, const float (&score)[L::SCORES], Running& running,
                                              TileWeights<L>& shared, float (&weight)[L::SCORES]) {
    float* mine = reinterpret_cast<float*>(shared) + me.team * L::SCORES + me.my_score;
#pragma unroll
    for (int i = 0; i < L::MINE; ++i) {
        const float weight = exp2f(score[i] - running.largest);
        running.total += weight;
        if (me.member % L::COPIES == 0) {
            mine[i] = weight;
        }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < L::SCORES / 4; ++i) {
        const float4 four = shared[me.team * (L::SCORES / 4) + i];
        weight[4 * i] = four.x;
        weight[4 * i + 1] = four.y;
        weight[4 * i + 2] = four.z;
        weight[4 * i + 3] = four.w;
    }
}

// sums += weights * values, for the pieces of this lane.
template <typename L, typename Loader>
__device__ __forceinline__ void add_values(const float (&weight)[L::SCORES], const Loader& loader, int buffer,
                                           RowPieces<L>& sums) {
#pragma unroll
    for (int round = 0; round < L::ROUNDS; ++round) {
#pragma unroll
        for (int j = 0; j < L::CHUNKS; ++j) {
            float v[L::PIECE];
            unpack<typename L::Element>(loader.value_piece(buffer, round * L::CHUNKS + j), v);
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
#pragma unroll
                for (int i = 0; i < L::PIECE; ++i) {
                    sums[r][j][i] += weight[r * L::ROUNDS + round] * v[i];
                }
            }
        }
    }
}

// ---- the end

// Sum up over the lanes of a row and over the teams, and write this warp's part of its rows, and of this lane's row the
// logarithm of its weight (-FLT_MAX where it had no keys).
template <typename L>
__device__ __forceinline__ void write_part(const L& me, const Running& running, RowPieces<L>& sums,
                                           float (&part_out)[ROWS][L::MAX_DIM],
                                           float (&part_lse)[ROWS * WARPS][WARPS], int row, int key_warp) {
    float total = me.member % L::COPIES == 0 ? running.total : 0.0f;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        if (distance < L::LANES / ROWS || distance >= L::LANES) {
            total += __shfl_xor_sync(FULL_WARP, total, distance);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const float of_row = __shfl_sync(FULL_WARP, total, r * (L::LANES / ROWS));
        const float factor = of_row > 0.0f ? 1.0f / of_row : 0.0f;
#pragma unroll
        for (int j = 0; j < L::CHUNKS; ++j) {
#pragma unroll
            for (int i = 0; i < L::PIECE; ++i) {
                float sum = sums[r][j][i];
#pragma unroll
                for (int distance = L::LANES; distance < 32; distance *= 2) {
                    sum += __shfl_xor_sync(FULL_WARP, sum, distance);
                }
                sums[r][j][i] = sum * factor;
            }
            if (me.team == 0) {
                // Lanes 4 to 7 of every 8 store the halves of 8 floats in the other order: so 8 lanes use all banks.
                float4* to = reinterpret_cast<float4*>(&part_out[r][(me.member + j * L::LANES) * L::PIECE]);
                const bool swap = L::PIECE == 8 && me.member & 4;
#pragma unroll
                for (int i = 0; i < L::PIECE / 4; ++i) {
                    const float4 here = quad(sums[r][j], i);
                    const float4 there = quad(sums[r][j], L::PIECE / 4 - 1 - i);
                    to[swap ? L::PIECE / 4 - 1 - i : i] = swap ? there : here;
                }
            }
        }
    }
    if (me.team == 0 && me.member % (L::LANES / ROWS) == 0) {
        part_lse[row][key_warp] = total > 0.0f ? running.largest + log2f(total) : -FLT_MAX;
    }
}

// Merge the warps that shared the keys of a row, and write the row if this block has all its keys (`alone`), else write it
// for the merge of the splits.
template <typename L, typename T>
__device__ __forceinline__ void merge_warps(const Attention<T>& a, const Share& share, bool alone,
                                            const float (&part_out)[WARPS][ROWS][L::MAX_DIM],
                                            const float (&part_lse)[ROWS * WARPS][WARPS]) {
    for (int i = threadIdx.x; i < share.num_rows * a.head_dim; i += THREADS) {
        const int row = i / a.head_dim, d = i % a.head_dim;
        const float* parts = &part_out[row / ROWS * share.key_warps][row % ROWS][d];
        float lse;
        const float x = merge_parts(part_lse[row], parts, share.key_warps, ROWS * L::MAX_DIM, lse);
        if (alone) {
            a.out[share.query_row(row) * a.head_dim + d] = from_float<T>(x);
        } else {
            const int head = share.kv_head * share.group + share.first_row + row;  // a tile that is split has one token
            const int64_t tile_head = static_cast<int64_t>(blockIdx.z) * a.num_heads + head;
            const int64_t part = tile_head * a.num_splits + blockIdx.y;
            a.partial_out[part * a.head_dim + d] = x;
            if (d == 0) {
                a.partial_lse[part] = lse;
            }
        }
    }
}

template <typename T, typename Loader>
__global__ void __launch_bounds__(THREADS, Loader::RESIDENT_BLOCKS) grouped_kernel(Attention<T> a) {
    using L = typename Loader::L;
    __shared__ TileWeights<L> weights[WARPS][2];
    __shared__ float part_out[WARPS][ROWS][L::MAX_DIM];
    __shared__ float part_lse[ROWS * WARPS][WARPS];  // [row of the block][warp that shares its keys]
    const L me;
    Share share = share_of_this_warp(me, a);
    if (share.has_nothing()) {
        return;
    }
    share_keys(me, share);
    RowPieces<L> query, sums;
    load_queries(me, a, share, query, sums);
    Running running;
    const int end = share.end;
    const int visible = min(share.tile.w + share.token_of(share.warp_row + me.my_row), end);  // to this lane's row
    const int* block_table = a.block_tables + static_cast<int64_t>(share.tile.x) * a.max_blocks;
    const int64_t token_stride = static_cast<int64_t>(a.num_kv_heads) * a.head_dim;
    const int64_t first_element = static_cast<int64_t>(share.kv_head) * a.head_dim;
    const KvHead<T> head = {a.key_cache + first_element, a.value_cache + first_element, a.head_dim};
    Loader loader;
    RowOffsets<L> offsets;

    int chunk = share.begin;  // the first of 32 keys, whose slots the lanes have
    const bool works = share.has_work();
    int slot = works ? slot_of_lane(block_table, chunk, end, a.block_size) : 0;
    if (works) {
#pragma unroll
        for (int tile = 0; tile < Loader::AHEAD; ++tile) {
            const bool exists = tile == 0 || chunk + tile * L::KEYS < end;
            if (exists) {
                find_rows(me, slot, tile * L::KEYS, token_stride, offsets);
            }
            loader.start(me, head, offsets, tile, exists);
        }
    }
    int buffer = 0;  // 0 and 1 in turn, from tile to tile
    while (works && chunk < end) {
        const int next_chunk = chunk + 32;
        const int next_slot = next_chunk < end ? slot_of_lane(block_table, next_chunk, end, a.block_size) : slot;
#pragma unroll 1
        for (int first_key = 0; first_key < 32 && chunk + first_key < end; first_key += L::KEYS) {
            float score[L::SCORES], weight[L::SCORES];
            loader.wait();
            score_keys<L>(query, loader, buffer, score);
            const int next_key = first_key + Loader::AHEAD * L::KEYS;
            const bool same_chunk = next_key < 32;
            const bool more = (same_chunk ? chunk : next_chunk - 32) + next_key < end;
            if (more) {
                find_rows(me, same_chunk ? slot : next_slot, next_key % 32, token_stride, offsets);
                loader.load_keys(me, head, offsets);
            }
            reduce_scatter<L::LANES>(score, me.lane);
            take_scores(me, score, chunk + first_key, visible, running, sums);
            share_weights(me, score, running, weights[me.warp][buffer], weight);
            add_values<L>(weight, loader, buffer, sums);
            loader.load_rest(me, head, offsets, buffer, more);
            buffer ^= 1;
        }
        chunk = next_chunk;
        slot = next_slot;
    }
    const int key_warp = me.warp % share.key_warps;
    write_part(me, running, sums, part_out[me.warp], part_lse, share.warp_row + me.my_row, key_warp);
    __syncthreads();
    if constexpr (Loader::MERGES_SPLITS) {
        const int num_splits = splits_of(a, share.tile.w);
        merge_warps<L>(a, share, num_splits == 1, part_out, part_lse);
        if (num_splits > 1) {
            merge_splits_if_last(a, share.tile.y, share.kv_head, num_splits, num_splits);  // one block has all rows
        }
    } else {
        merge_warps<L>(a, share, a.num_splits == 1, part_out, part_lse);
    }
}

// ---- launches

constexpr int MAX_GRID = 65535;  // thread blocks in the second and third direction

// tile_tokens: the most query tokens that a tile has.
template <typename T, typename Loader>
static int launch_kernel(Attention<T> a, int tile_tokens) {
    const int rows = tile_tokens * (a.num_heads / a.num_kv_heads);
    // A decode shares the keys of a context out to all warps that its rows leave free; a full tile of a prefill has
    // rows for every warp.
    a.row_warps = rows <= ROWS ? 1 : rows <= 2 * ROWS ? 2 : 4;
    const int row_blocks = (rows + ROWS * a.row_warps - 1) / (ROWS * a.row_warps);
    if (a.num_splits > MAX_GRID || a.num_tiles > MAX_GRID) {
        return cudaErrorInvalidConfiguration;
    }
    const dim3 grid(a.num_kv_heads * row_blocks, a.num_splits, a.num_tiles);
    grouped_kernel<T, Loader><<<grid, THREADS, 0, a.stream>>>(a);
    return cudaGetLastError();
}

// With the layout for a's head_dim. Keys of up to 32 floats, or 64 halves, leave room for four teams in a warp.
template <typename T>
static int launch_grouped(const Attention<T>& a, int tile_tokens) {
    return dispatch_head_dim<sizeof(T) == 4 ? 32 : 64, 128, 256>(a.head_dim, [&](auto size) {
        return launch_kernel<T, InRegisters<Layout<T, size()>>>(a, tile_tokens);
    });
}

// A decode with several thread blocks for a context, and a second kernel that merges their parts.
template <typename T>
static int launch_split_kv(const Attention<T>& a) {
    const int error = launch_grouped(a, 1);
    if (error != cudaSuccess || a.num_splits == 1) {
        return error;
    }
    merge_splits_kernel<<<a.num_tiles * a.num_heads, THREADS, 0, a.stream>>>(a);
    return cudaGetLastError();
}
