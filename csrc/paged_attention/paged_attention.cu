// Attention over the pages of the KV cache: a query reads the keys and values of its sequence through a block table.
//
// query, out: [num_seqs, num_heads, head_dim] for a decode (one query a sequence); element types as `dtype` says
// key_cache, value_cache: one layer of the pool, [num_blocks, block_size, num_kv_heads, head_dim], of less than 2^31
//     slots (tokens)
// block_tables: [num_seqs, max_blocks]; entries beyond a sequence's context are not read
// context_lens: [num_seqs], the tokens that each query sees; 0 gives zeros
//
// Query head h reads KV head h / group, with group = num_heads / num_kv_heads. head_dim: multiples of 8 up to 256.
// Scores, softmax and sums are in float. Scores are multiplied by log2(e) beforehand, so that 2^x, which the card
// computes in one instruction, takes the place of e^x.
//
// 1 paged_decode_1_thread_per_head  one thread does all the work of a query head. Neighbouring threads read rows that
//                                   lie far apart, 2 bytes of each sector of 32 at a time, and the sums do not fit
//                                   into registers. Right, and slow.
// 2 paged_decode_2_warp_per_head    a warp per query head, its lanes side by side along head_dim: a row is read in
//                                   whole sectors, the sums stay in registers. One key at a time: the next load waits
//                                   for a dot product of five shuffles, and each head of a group reads the same keys.
// 3 paged_decode_3_grouped          a warp takes the queries of four heads of a group, and tiles of several keys.
//                                   Lanes load 16 bytes each, four loads of keys and four of values are on their way
//                                   at a time, each is used by four heads, and one round of shuffles sums up the dot
//                                   products of a tile. The warps of a thread block share out the context and merge.
// 4 paged_decode_4_split_kv         the same kernel with several thread blocks per context, which write partial
//                                   results; a second kernel merges them. It fills the card when sequences are few
//                                   and long.
// 5 paged_decode_5_async            what is on its way waits in shared memory and not in registers (cp.async): a whole
//                                   tile more is on its way, and a multiprocessor has room for four thread blocks in
//                                   the place of three. For 16-bit types, head_dim up to 128 and groups of up to four
//                                   heads; else it is rung 4.
//
// paged_prefill is rung 3 for queries of several tokens each: its rows are (token, head) pairs. For long prefills of
// 16-bit types the engine collects the pages (../memory/gather_pages.cu) and calls flash_attention_4_tensor_cores.
//
// What they took on an H100 (2026-11-25, `python -m yaie.bench kernels --device cuda`; the record is in
// yaie/bench/results), bfloat16, 32 heads on 8 KV heads of 128, pages of 16; in brackets the share of the speed of
// reading alone, 3,046 GB/s:
//     64 requests of 4,096 tokens   1: 74.4 ms   2: 4.28 ms   3: 0.460 ms (77%)   4: 0.387 ms (91%)   5: 0.375 ms (94%)
//     1 request of 32,768 tokens    1: 339 ms    2: 32.8 ms   3: 1.06 ms (4%)     4: 0.066 ms (67%)   5: 0.063 ms (70%)
#include "../common.cuh"
#include "yaie_ptx.cuh"

#include <cfloat>

constexpr int MAX_HEAD_DIM = 256;
constexpr int WARPS = 4;  // in a thread block
constexpr int THREADS = 32 * WARPS;

// The slot of the token at `position` of a sequence: its place in the cache, counted in tokens from the start of the
// pool. Page number i of the sequence is block block_table[i] of the pool; pages have block_size tokens.
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    return block_table[position / block_size] * block_size + position % block_size;
}

// The online softmax: let the running maximum `largest` grow to at least `score`. What was added up relative to the old
// maximum is too large now, and must be multiplied by the factor that is returned, 2^(old maximum - new maximum); for
// `total`, the sum of the weights, it is done here.
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    const float larger = fmaxf(largest, score);
    const float correction = exp2f(largest - larger);
    total *= correction;
    largest = larger;
    return correction;
}

// Merge attention over `count` disjoint sets of keys, one element of the output. Set i has this element in
// parts[i * stride], and in lses[i] the base-2 logarithm of its total weight. The merged element, which is returned, is
// the mean of the parts weighted by 2^lses[i]; `lse` receives the logarithm of the total weight of all sets.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = lses[0];
    for (int i = 1; i < count; ++i) {
        largest = fmaxf(largest, lses[i]);
    }
    float total = 0.0f;
    float sum = 0.0f;
    for (int i = 0; i < count; ++i) {
        const float weight = exp2f(lses[i] - largest);
        total += weight;
        sum += weight * parts[static_cast<int64_t>(i) * stride];
    }
    lse = largest + log2f(total);
    return sum / total;
}

// ---- what every kernel gets

template <typename T>
struct Attention {
    const T* query;
    const T* key_cache;
    const T* value_cache;
    const int* block_tables;
    const int* context_lens;  // null with tiles
    const int4* tiles;        // null for a plain decode; see tile_of
    T* out;
    float* partial_out;  // [num_tiles, num_heads, num_splits, head_dim], null without splits
    float* partial_lse;  // [num_tiles, num_heads, num_splits]
    int num_tiles, num_heads, num_kv_heads, head_dim, block_size, max_blocks;
    float scale;      // of the scores, log2(e) included
    int num_splits;   // thread blocks per context
    int split_tokens; // keys that a split takes at least
    int row_warps;    // warps of a block that take different rows; the others share the keys of these
    cudaStream_t stream;
};

// A tile of queries that read the same pages: (sequence, first query token, number of tokens, keys that the first token
// sees; each later token sees one more).
template <typename T>
__device__ __forceinline__ int4 tile_of(const Attention<T>& a, int index) {
    return a.tiles ? a.tiles[index] : make_int4(index, index, 1, a.context_lens[index]);
}

// ---- rung 1

template <typename T>
__global__ void __launch_bounds__(THREADS) thread_per_head_kernel(Attention<T> a) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= a.num_tiles * a.num_heads) {
        return;
    }
    const int seq = index / a.num_heads;
    const int kv_head = index % a.num_heads / (a.num_heads / a.num_kv_heads);
    const int* block_table = a.block_tables + static_cast<int64_t>(seq) * a.max_blocks;
    const T* query = a.query + static_cast<int64_t>(index) * a.head_dim;
    float sums[MAX_HEAD_DIM];  // indexed at run time, so it lies in local memory, which is global memory
    for (int d = 0; d < a.head_dim; ++d) {
        sums[d] = 0.0f;
    }
    float largest = -FLT_MAX;
    float total = 0.0f;
    for (int position = 0; position < a.context_lens[seq]; ++position) {
        const int64_t slot = slot_of_token(block_table, position, a.block_size);
        const int64_t row = (slot * a.num_kv_heads + kv_head) * a.head_dim;
        float score = 0.0f;
        for (int d = 0; d < a.head_dim; ++d) {
            score += to_float(query[d]) * to_float(a.key_cache[row + d]);
        }
        score *= a.scale;
        const float correction = grow_maximum(score, largest, total);
        const float weight = exp2f(score - largest);
        total += weight;
        for (int d = 0; d < a.head_dim; ++d) {
            sums[d] = sums[d] * correction + weight * to_float(a.value_cache[row + d]);
        }
    }
    for (int d = 0; d < a.head_dim; ++d) {
        a.out[static_cast<int64_t>(index) * a.head_dim + d] = from_float<T>(total > 0.0f ? sums[d] / total : 0.0f);
    }
}

// ---- rung 2

constexpr int DIMS_PER_LANE = MAX_HEAD_DIM / 32;

// The dot product of a query and a key [head_dim], in every lane. Lane l holds the elements l, l + 32, l + 64, ... of
// the query, in query[0], query[1], ..., query[DIMS_PER_LANE - 1] (0 beyond head_dim), so that a warp reads 32
// neighbouring elements of the key at a time. All lanes must call it.
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < DIMS_PER_LANE; ++i) {
        const int d = threadIdx.x % 32 + 32 * i;
        if (d < head_dim) {
            sum += query[i] * to_float(key[d]);
        }
    }
    return warp_sum(sum);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) warp_per_head_kernel(Attention<T> a) {
    const int index = blockIdx.x * WARPS + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (index >= a.num_tiles * a.num_heads) {
        return;  // the whole warp
    }
    const int seq = index / a.num_heads;
    const int kv_head = index % a.num_heads / (a.num_heads / a.num_kv_heads);
    const int* block_table = a.block_tables + static_cast<int64_t>(seq) * a.max_blocks;
    const int64_t first = static_cast<int64_t>(index) * a.head_dim;
    float query[DIMS_PER_LANE];
    float sums[DIMS_PER_LANE] = {};
#pragma unroll
    for (int i = 0; i < DIMS_PER_LANE; ++i) {
        const int d = lane + 32 * i;
        query[i] = d < a.head_dim ? to_float(a.query[first + d]) * a.scale : 0.0f;
    }
    float largest = -FLT_MAX;
    float total = 0.0f;
    for (int position = 0; position < a.context_lens[seq]; ++position) {
        const int64_t slot = slot_of_token(block_table, position, a.block_size);
        const int64_t row = (slot * a.num_kv_heads + kv_head) * a.head_dim;
        const float score = warp_dot(query, a.key_cache + row, a.head_dim);
        const float correction = grow_maximum(score, largest, total);
        const float weight = exp2f(score - largest);
        total += weight;
#pragma unroll
        for (int i = 0; i < DIMS_PER_LANE; ++i) {
            const int d = lane + 32 * i;
            if (d < a.head_dim) {
                sums[i] = sums[i] * correction + weight * to_float(a.value_cache[row + d]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < DIMS_PER_LANE; ++i) {
        const int d = lane + 32 * i;
        if (d < a.head_dim) {
            a.out[first + d] = from_float<T>(total > 0.0f ? sums[i] / total : 0.0f);
        }
    }
}

// ---- rungs 3 and 4

constexpr int ROWS = 4;  // queries that a warp keeps in registers: all of them use each key and value that it loads

// 16 bytes of the cache as floats.
__device__ __forceinline__ void unpack(const uint4& raw, float (&x)[4], const float*) {
    x[0] = __uint_as_float(raw.x);
    x[1] = __uint_as_float(raw.y);
    x[2] = __uint_as_float(raw.z);
    x[3] = __uint_as_float(raw.w);
}

__device__ __forceinline__ void unpack_pair(unsigned raw, float& low, float& high, const __half*) {
    __half2 pair;
    memcpy(&pair, &raw, 4);
    low = __low2float(pair);
    high = __high2float(pair);
}

__device__ __forceinline__ void unpack_pair(unsigned raw, float& low, float& high, const __nv_bfloat16*) {
    low = __uint_as_float(raw << 16);  // a bfloat16 is the upper half of a float
    high = __uint_as_float(raw & 0xffff0000u);
}

template <typename T>
__device__ __forceinline__ void unpack(const uint4& raw, float (&x)[8], const T* type) {
    unpack_pair(raw.x, x[0], x[1], type);
    unpack_pair(raw.y, x[2], x[3], type);
    unpack_pair(raw.z, x[4], x[5], type);
    unpack_pair(raw.w, x[6], x[7], type);
}

__device__ __forceinline__ float4 quad(const float* x, int i) {
    return make_float4(x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]);
}

// How the 32 lanes of a warp share a tile of keys: LANES neighbouring lanes, a team, read one key at a time, each lane
// CHUNKS pieces of 16 bytes of it. Lane l of a team has pieces l, l + LANES, ...: the loads of a team lie side by side.
template <typename T, int LANES, int CHUNKS>
struct Layout {
    static constexpr int PIECE = 16 / sizeof(T);    // elements in 16 bytes
    static constexpr int TEAMS = 32 / LANES;        // keys that a warp reads with one instruction
    static constexpr int ROUNDS = 4 / CHUNKS;       // such instructions in a tile
    static constexpr int KEYS = TEAMS * ROUNDS;     // keys in a tile
    static constexpr int SCORES = ROWS * ROUNDS;    // of a team in a tile
    static constexpr int MINE = SCORES > LANES ? SCORES / LANES : 1;    // scores that a lane has after reduce_scatter
    static constexpr int COPIES = LANES > SCORES ? LANES / SCORES : 1;  // lanes that have the same score
    static constexpr int MAX_DIM = LANES * CHUNKS * PIECE;
};

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

// Keys of a split: at least split_tokens, and so many that num_splits splits hold the context.
template <typename T>
__device__ __forceinline__ int keys_per_split(const Attention<T>& a, int context_len) {
    return max(a.split_tokens, (context_len + a.num_splits - 1) / a.num_splits);
}

// A warp's share of a tile: the keys and values that it loads, four times 16 bytes of each in every lane.
template <typename T, int LANES, int CHUNKS>
__device__ __forceinline__ void load_pieces(uint4 (&raw)[4], const T* rows, const int64_t (&offsets)[4 / CHUNKS],
                                            int head_dim) {
    using L = Layout<T, LANES, CHUNKS>;
#pragma unroll
    for (int round = 0; round < L::ROUNDS; ++round) {
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) {
            const int d = (threadIdx.x % LANES + j * LANES) * L::PIECE;
            if (d < head_dim) {  // else it stays 0
                raw[round * CHUNKS + j] = *reinterpret_cast<const uint4*>(rows + offsets[round] + d);
            }
        }
    }
}

// The same without registers in between: the pieces set out for shared memory, `to[piece][lane]`. Each lane reads only
// what it copied itself, so it needs no barrier, only cp_async_wait.
template <typename T, int LANES, int CHUNKS>
__device__ __forceinline__ void copy_pieces(uint4* to, const T* rows, const int64_t (&offsets)[4 / CHUNKS],
                                            int head_dim) {
    using L = Layout<T, LANES, CHUNKS>;
#pragma unroll
    for (int round = 0; round < L::ROUNDS; ++round) {
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) {
            const int d = (threadIdx.x % LANES + j * LANES) * L::PIECE;
            const bool inside = d < head_dim;  // beyond it, zeros are stored and nothing is read
            yaie::cp_async_16(to + (round * CHUNKS + j) * 32 + threadIdx.x % 32,
                              rows + offsets[round] + (inside ? d : 0), inside ? 16 : 0);
        }
    }
}

constexpr int PIECES = 8;  // of a lane in a tile: four of keys, four of values
constexpr int STAGES = 2;  // tiles in shared memory in the asynchronous kernel: one is worked on, one is on its way

// Grid: (num_kv_heads * blocks for the rows of a tile, num_splits, num_tiles). Four thread blocks of the asynchronous
// kernel must find room on a multiprocessor; of the other kernel, the compiler decides how many (0).
template <typename T, int LANES, int CHUNKS, bool ASYNC>
__global__ void __launch_bounds__(THREADS, ASYNC ? 4 : 0) grouped_kernel(Attention<T> a) {
    using L = Layout<T, LANES, CHUNKS>;
    constexpr int PIECE = L::PIECE, ROUNDS = L::ROUNDS;
    constexpr int AHEAD = ASYNC ? STAGES : 1;  // which tile sets out when this one has been worked on
    __shared__ uint4 copies[ASYNC ? WARPS * STAGES * PIECES * 32 : 1];
    __shared__ float4 weights[WARPS][2][L::TEAMS * L::SCORES / 4];
    __shared__ float part_out[WARPS][ROWS][L::MAX_DIM];
    __shared__ float part_lse[ROWS * WARPS][WARPS];  // [row of the block][warp that shares its keys]

    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int team = lane / LANES, member = lane % LANES;
    const int group = a.num_heads / a.num_kv_heads;
    const int key_warps = WARPS / a.row_warps;
    const int block_rows = ROWS * a.row_warps;

    // Which rows, and which keys.
    const int4 tile = tile_of(a, blockIdx.z);
    const int kv_head = blockIdx.x % a.num_kv_heads;
    const int first_row = blockIdx.x / a.num_kv_heads * block_rows;
    const int num_rows = min(tile.z * group - first_row, block_rows);  // of this block
    const int warp_row = warp / key_warps * ROWS;                      // first row of this warp
    const int context_len = tile.w + tile.z - 1;
    const int split_len = keys_per_split(a, context_len);
    const int split_begin = blockIdx.y * split_len;
    const int split_end = min(split_begin + split_len, context_len);
    if (split_begin >= split_end && blockIdx.y > 0) {
        return;  // the context is shorter: nothing for this split to do
    }
    // The warps that have the same rows take equal parts of the split, whole tiles if possible.
    const int warp_len = ((split_end - split_begin + key_warps - 1) / key_warps + L::KEYS - 1) / L::KEYS * L::KEYS;
    const int begin = split_begin + warp % key_warps * warp_len;
    const int end = min(begin + warp_len, split_end);
    // Row r of this block: a token of the tile, and one of the query heads that read this KV head.
    const auto token_of = [&](int row) { return tile.z == 1 ? 0 : (first_row + row) / group; };
    const auto query_row = [&](int row) {
        const int token = token_of(row);
        return static_cast<int64_t>(tile.y + token) * a.num_heads + kv_head * group + first_row + row - token * group;
    };

    float query[ROWS][CHUNKS][PIECE];
    float sums[ROWS][CHUNKS][PIECE];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) {
            const int d = (member + j * LANES) * PIECE;
            uint4 raw = make_uint4(0, 0, 0, 0);
            if (warp_row + r < num_rows && d < a.head_dim) {
                raw = *reinterpret_cast<const uint4*>(a.query + query_row(warp_row + r) * a.head_dim + d);
            }
            unpack(raw, query[r][j], a.query);
#pragma unroll
            for (int i = 0; i < PIECE; ++i) {
                query[r][j][i] *= a.scale;
                sums[r][j][i] = 0.0f;
            }
        }
    }

    // After reduce_scatter a lane has scores of one row only: all lanes of a row keep its maximum, and each keeps the
    // sum of the weights that it computes itself.
    const int my_score = member / L::COPIES * L::MINE;
    const int my_row = my_score / ROUNDS;
    // Keys that my row sees, as far as this warp has them.
    const int visible = min(tile.w + token_of(warp_row + my_row), end);
    float largest = -FLT_MAX;  // not -inf: masked scores are, and inf - inf is not a number
    float total = 0.0f;

    const int* block_table = a.block_tables + static_cast<int64_t>(tile.x) * a.max_blocks;
    const int64_t token_stride = static_cast<int64_t>(a.num_kv_heads) * a.head_dim;
    const T* keys = a.key_cache + static_cast<int64_t>(kv_head) * a.head_dim;
    const T* values = a.value_cache + static_cast<int64_t>(kv_head) * a.head_dim;
    uint4 key[4] = {}, value[4] = {};
    int64_t offsets[ROUNDS];

    // The page walk, for 32 keys at once: lane l finds the slot of key l. Behind the end it repeats the last key, whose
    // score will be masked: nothing that another sequence left in the pool can get in.
    int chunk = begin;
    const bool works = chunk < end && warp_row < num_rows;
    int slot = works ? slot_of_token(block_table, min(chunk + lane, end - 1), a.block_size) : 0;
    const auto find_rows = [&](int slots, int first_key) {
#pragma unroll
        for (int round = 0; round < ROUNDS; ++round) {
            offsets[round] = __shfl_sync(FULL_WARP, slots, first_key + round * L::TEAMS + team) * token_stride;
        }
    };
    // Of the asynchronous kernel: a tile of this warp in shared memory, and a tile that sets out for it.
    const auto stage_of = [&](int stage) { return copies + (warp * STAGES + stage) * PIECES * 32; };
    const auto copy_tile = [&](int stage) {
        copy_pieces<T, LANES, CHUNKS>(stage_of(stage), keys, offsets, a.head_dim);
        copy_pieces<T, LANES, CHUNKS>(stage_of(stage) + 4 * 32, values, offsets, a.head_dim);
    };
    if (works) {
        find_rows(slot, 0);
        if constexpr (ASYNC) {
            copy_tile(0);
            yaie::cp_async_commit();
            if (chunk + L::KEYS < end) {
                find_rows(slot, L::KEYS);
                copy_tile(1);
            }
            yaie::cp_async_commit();
        } else {
            load_pieces<T, LANES, CHUNKS>(key, keys, offsets, a.head_dim);
            load_pieces<T, LANES, CHUNKS>(value, values, offsets, a.head_dim);
        }
    }
    int buffer = 0;  // 0 and 1 in turn, from tile to tile
    while (works && chunk < end) {
        const int next_chunk = chunk + 32;
        const int next_slot =
            next_chunk < end ? slot_of_token(block_table, min(next_chunk + lane, end - 1), a.block_size) : slot;
#pragma unroll 1
        for (int first_key = 0; first_key < 32 && chunk + first_key < end; first_key += L::KEYS) {
            if constexpr (ASYNC) {
                yaie::cp_async_wait<STAGES - 1>();  // this tile is there, the next one may still be on its way
            }
            const auto piece = [&](const uint4(&loaded)[4], int i, int first) {
                if constexpr (ASYNC) {
                    return stage_of(buffer)[(first + i) * 32 + lane];
                } else {
                    return loaded[i];
                }
            };
            // Scores of the tile: of ROWS queries with ROUNDS keys, over the pieces of this lane.
            float score[L::SCORES];
#pragma unroll
            for (int round = 0; round < ROUNDS; ++round) {
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    score[r * ROUNDS + round] = 0.0f;
                }
#pragma unroll
                for (int j = 0; j < CHUNKS; ++j) {
                    float k[PIECE];
                    unpack(piece(key, round * CHUNKS + j, 0), k, keys);
#pragma unroll
                    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
                        for (int i = 0; i < PIECE; ++i) {
                            score[r * ROUNDS + round] += query[r][j][i] * k[i];
                        }
                    }
                }
            }
            const int next_key = first_key + AHEAD * L::KEYS;
            const bool same_chunk = next_key < 32;
            const bool more = (same_chunk ? chunk : next_chunk - 32) + next_key < end;
            if (more) {
                find_rows(same_chunk ? slot : next_slot, next_key % 32);
                if constexpr (!ASYNC) {
                    // The registers of the keys are free: the next ones set out while this tile is worked on.
                    load_pieces<T, LANES, CHUNKS>(key, keys, offsets, a.head_dim);
                }
            }
            reduce_scatter<LANES>(score, lane);
            float highest = -INFINITY;
#pragma unroll
            for (int i = 0; i < L::MINE; ++i) {
                const int position = chunk + first_key + (my_score + i) % ROUNDS * L::TEAMS + team;
                score[i] = position < visible ? score[i] : -INFINITY;
                highest = fmaxf(highest, score[i]);
            }
            // The maximum rarely grows once some keys have been seen; only then is there something to correct.
            if (__any_sync(FULL_WARP, highest > largest)) {
#pragma unroll
                for (int distance = 1; distance < 32; distance *= 2) {
                    if (distance < LANES / ROWS || distance >= LANES) {  // the lanes that have scores of my row
                        highest = fmaxf(highest, __shfl_xor_sync(FULL_WARP, highest, distance));
                    }
                }
                const float correction = grow_maximum(highest, largest, total);
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    const float of_row = __shfl_sync(FULL_WARP, correction, r * (LANES / ROWS));
#pragma unroll
                    for (int j = 0; j < CHUNKS; ++j) {
#pragma unroll
                        for (int i = 0; i < PIECE; ++i) {
                            sums[r][j][i] *= of_row;
                        }
                    }
                }
            }
            // Every lane needs the weights of all rows for its team's keys: hand them round through shared memory. Two
            // buffers: whoever writes the next tile's weights does not overwrite what a slower lane still reads.
            float* mine = reinterpret_cast<float*>(weights[warp][buffer]) + team * L::SCORES + my_score;
#pragma unroll
            for (int i = 0; i < L::MINE; ++i) {
                const float weight = exp2f(score[i] - largest);
                total += weight;
                if (member % L::COPIES == 0) {
                    mine[i] = weight;
                }
            }
            __syncwarp();
            float weight[L::SCORES];
#pragma unroll
            for (int i = 0; i < L::SCORES / 4; ++i) {
                const float4 four = weights[warp][buffer][team * (L::SCORES / 4) + i];
                weight[4 * i] = four.x;
                weight[4 * i + 1] = four.y;
                weight[4 * i + 2] = four.z;
                weight[4 * i + 3] = four.w;
            }
#pragma unroll
            for (int round = 0; round < ROUNDS; ++round) {
#pragma unroll
                for (int j = 0; j < CHUNKS; ++j) {
                    float v[PIECE];
                    unpack(piece(value, round * CHUNKS + j, 4), v, values);
#pragma unroll
                    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
                        for (int i = 0; i < PIECE; ++i) {
                            sums[r][j][i] += weight[r * ROUNDS + round] * v[i];
                        }
                    }
                }
            }
            if constexpr (ASYNC) {
                if (more) {
                    copy_tile(buffer);
                }
                yaie::cp_async_commit();  // also where there is no more: the wait counts groups
            } else if (more) {
                load_pieces<T, LANES, CHUNKS>(value, values, offsets, a.head_dim);
            }
            buffer ^= 1;
        }
        chunk = next_chunk;
        slot = next_slot;
    }

    // Sum over the lanes of a row, and over the teams.
    total = member % L::COPIES == 0 ? total : 0.0f;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        if (distance < LANES / ROWS || distance >= LANES) {
            total += __shfl_xor_sync(FULL_WARP, total, distance);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const float of_row = __shfl_sync(FULL_WARP, total, r * (LANES / ROWS));
        const float factor = of_row > 0.0f ? 1.0f / of_row : 0.0f;
#pragma unroll
        for (int j = 0; j < CHUNKS; ++j) {
#pragma unroll
            for (int i = 0; i < PIECE; ++i) {
                float sum = sums[r][j][i];
#pragma unroll
                for (int distance = LANES; distance < 32; distance *= 2) {
                    sum += __shfl_xor_sync(FULL_WARP, sum, distance);
                }
                sums[r][j][i] = sum * factor;
            }
            if (team == 0) {
                // Lanes 4 to 7 of every 8 store the halves of 8 floats in the other order: so 8 lanes use all banks.
                float4* to = reinterpret_cast<float4*>(&part_out[warp][r][(member + j * LANES) * PIECE]);
                const bool swap = PIECE == 8 && member & 4;
#pragma unroll
                for (int i = 0; i < PIECE / 4; ++i) {
                    const float4 here = quad(sums[r][j], i);
                    const float4 there = quad(sums[r][j], PIECE / 4 - 1 - i);
                    to[swap ? PIECE / 4 - 1 - i : i] = swap ? there : here;
                }
            }
        }
    }
    if (team == 0 && member % (LANES / ROWS) == 0) {
        part_lse[warp_row + my_row][warp % key_warps] = total > 0.0f ? largest + log2f(total) : -FLT_MAX;
    }
    __syncthreads();

    // Merge the warps that shared the keys of a row, and write it, or write it for the merge of the splits.
    for (int i = threadIdx.x; i < num_rows * a.head_dim; i += THREADS) {
        const int row = i / a.head_dim, d = i % a.head_dim;
        const float* parts = &part_out[row / ROWS * key_warps][row % ROWS][d];
        float lse;
        const float x = merge_parts(part_lse[row], parts, key_warps, ROWS * L::MAX_DIM, lse);
        if (a.num_splits == 1) {
            a.out[query_row(row) * a.head_dim + d] = from_float<T>(x);
        } else {
            const int head = kv_head * group + first_row + row;  // a tile that is split has one token
            const int64_t tile_head = static_cast<int64_t>(blockIdx.z) * a.num_heads + head;
            const int64_t part = tile_head * a.num_splits + blockIdx.y;
            a.partial_out[part * a.head_dim + d] = x;
            if (d == 0) {
                a.partial_lse[part] = lse;
            }
        }
    }
}

// Merge the splits of a query head. Thread block b has query head b % num_heads of tile b / num_heads.
template <typename T>
__global__ void __launch_bounds__(THREADS) merge_splits_kernel(Attention<T> a) {
    const int4 tile = tile_of(a, blockIdx.x / a.num_heads);
    const int64_t row = static_cast<int64_t>(tile.y) * a.num_heads + blockIdx.x % a.num_heads;
    const int split_len = keys_per_split(a, tile.w);
    const int count = max(1, (tile.w + split_len - 1) / split_len);  // the others had nothing to do
    const float* lses = a.partial_lse + static_cast<int64_t>(blockIdx.x) * a.num_splits;
    const float* parts = a.partial_out + static_cast<int64_t>(blockIdx.x) * a.num_splits * a.head_dim;
    for (int d = threadIdx.x; d < a.head_dim; d += THREADS) {
        float lse;
        a.out[row * a.head_dim + d] = from_float<T>(merge_parts(lses, parts + d, count, a.head_dim, lse));
    }
}

// ---- launchers

constexpr float LOG2_E = 1.4426950408889634f;
constexpr int MAX_GRID = 65535;  // thread blocks in the second and third direction

// tile_tokens: the most query tokens that a tile has.
template <typename T, int LANES, int CHUNKS, bool ASYNC = false>
static int launch_grouped(Attention<T> a, int tile_tokens) {
    const int rows = tile_tokens * (a.num_heads / a.num_kv_heads);
    // A decode shares the keys of a context out to all warps that its rows leave free; a full tile of a prefill has
    // rows for every warp.
    a.row_warps = rows <= ROWS ? 1 : rows <= 2 * ROWS ? 2 : 4;
    const int row_blocks = (rows + ROWS * a.row_warps - 1) / (ROWS * a.row_warps);
    if (a.num_splits > MAX_GRID || a.num_tiles > MAX_GRID) {
        return cudaErrorInvalidConfiguration;
    }
    const dim3 grid(a.num_kv_heads * row_blocks, a.num_splits, a.num_tiles);
    grouped_kernel<T, LANES, CHUNKS, ASYNC><<<grid, THREADS, 0, a.stream>>>(a);
    return cudaGetLastError();
}

// The layout for a head_dim: the fewest lanes per key that hold it in 16-byte pieces.
static int launch_grouped(const Attention<float>& a, int tile_tokens) {
    return a.head_dim <= 32    ? launch_grouped<float, 8, 1>(a, tile_tokens)
           : a.head_dim <= 128 ? launch_grouped<float, 32, 1>(a, tile_tokens)
                               : launch_grouped<float, 32, 2>(a, tile_tokens);
}

template <typename T>
static int launch_grouped(const Attention<T>& a, int tile_tokens) {
    return a.head_dim <= 64    ? launch_grouped<T, 8, 1>(a, tile_tokens)
           : a.head_dim <= 128 ? launch_grouped<T, 16, 1>(a, tile_tokens)
                               : launch_grouped<T, 32, 1>(a, tile_tokens);
}

// The asynchronous kernel where there is one.
static int launch_async(const Attention<float>& a) { return launch_grouped(a, 1); }

template <typename T>
static int launch_async(const Attention<T>& a) {
    if (a.num_heads > ROWS * a.num_kv_heads) {
        return launch_grouped(a, 1);  // warps with other rows read the same keys: through L1, which cp.async goes past
    }
    return a.head_dim <= 64    ? launch_grouped<T, 8, 1, true>(a, 1)
           : a.head_dim <= 128 ? launch_grouped<T, 16, 1, true>(a, 1)
                               : launch_grouped(a, 1);
}

// Arguments that every launcher has.
struct Arguments {
    const void *query, *key_cache, *value_cache;
    const int *block_tables, *context_lens;
    void* out;
    int num_seqs, num_heads, num_kv_heads, head_dim, block_size, max_blocks;
    float scale;
    int dtype;
    cudaStream_t stream;
};

// Call `launch` with an Attention<T> for the element type of the arguments; without splits and tiles.
template <typename F>
static int with_attention(const Arguments& x, F launch) {
    const bool known = x.head_dim >= 8 && x.head_dim <= MAX_HEAD_DIM && x.head_dim % 8 == 0 && x.num_kv_heads > 0 &&
                       x.num_heads % x.num_kv_heads == 0 && x.block_size > 0;
    if (!known) {
        return cudaErrorInvalidValue;
    }
    if (x.num_seqs == 0) {
        return cudaSuccess;
    }
    const auto launch_typed = [&](auto* null) {
        using T = std::remove_pointer_t<decltype(null)>;
        Attention<T> a = {};
        a.query = static_cast<const T*>(x.query);
        a.key_cache = static_cast<const T*>(x.key_cache);
        a.value_cache = static_cast<const T*>(x.value_cache);
        a.block_tables = x.block_tables;
        a.context_lens = x.context_lens;
        a.out = static_cast<T*>(x.out);
        a.num_tiles = x.num_seqs;
        a.num_heads = x.num_heads;
        a.num_kv_heads = x.num_kv_heads;
        a.head_dim = x.head_dim;
        a.block_size = x.block_size;
        a.max_blocks = x.max_blocks;
        a.scale = x.scale * LOG2_E;
        a.num_splits = 1;
        a.stream = x.stream;
        return launch(a);
    };
#ifdef YAIE_EXERCISE_CHECK  // someone waits for the compiler, and one type shows whether a function is right
    return x.dtype == DTYPE_FLOAT32 ? launch_typed(static_cast<float*>(nullptr)) : cudaErrorInvalidValue;
#else
    return dispatch_dtype(x.dtype, launch_typed);
#endif
}

// What rungs 4 and 5 have besides.
struct Splits {
    const int4* tiles;
    float *partial_out, *partial_lse;
    int num_splits, split_tokens;
};

// Call `launch`, which attends to the splits of every context, and merge them.
template <typename F>
static int launch_split(const Arguments& x, const Splits& splits, F launch) {
    if (splits.num_splits < 1 || splits.split_tokens < 1) {
        return cudaErrorInvalidValue;
    }
    return with_attention(x, [&](auto a) {
        a.tiles = splits.tiles;
        a.partial_out = splits.partial_out;
        a.partial_lse = splits.partial_lse;
        a.num_splits = splits.num_splits;
        a.split_tokens = splits.split_tokens;
        const int error = launch(a);
        if (error != cudaSuccess || a.num_splits == 1) {
            return error;
        }
        merge_splits_kernel<<<a.num_tiles * a.num_heads, THREADS, 0, a.stream>>>(a);
        return static_cast<int>(cudaGetLastError());
    });
}

extern "C" int paged_decode_1_thread_per_head(const void* query, const void* key_cache, const void* value_cache,
                                              const int* block_tables, const int* context_lens, void* out, int num_seqs,
                                              int num_heads, int num_kv_heads, int head_dim, int block_size,
                                              int max_blocks, float scale, int dtype, cudaStream_t stream) {
    const Arguments x = {query,     key_cache,    value_cache, block_tables, context_lens, out,   num_seqs,
                         num_heads, num_kv_heads, head_dim,    block_size,   max_blocks,   scale, dtype, stream};
    return with_attention(x, [&](auto a) {
        const int blocks = (a.num_tiles * a.num_heads + THREADS - 1) / THREADS;
        thread_per_head_kernel<<<blocks, THREADS, 0, a.stream>>>(a);
        return cudaGetLastError();
    });
}

extern "C" int paged_decode_2_warp_per_head(const void* query, const void* key_cache, const void* value_cache,
                                            const int* block_tables, const int* context_lens, void* out, int num_seqs,
                                            int num_heads, int num_kv_heads, int head_dim, int block_size,
                                            int max_blocks, float scale, int dtype, cudaStream_t stream) {
    const Arguments x = {query,     key_cache,    value_cache, block_tables, context_lens, out,   num_seqs,
                         num_heads, num_kv_heads, head_dim,    block_size,   max_blocks,   scale, dtype, stream};
    return with_attention(x, [&](auto a) {
        const int blocks = (a.num_tiles * a.num_heads + WARPS - 1) / WARPS;
        warp_per_head_kernel<<<blocks, THREADS, 0, a.stream>>>(a);
        return cudaGetLastError();
    });
}

extern "C" int paged_decode_3_grouped(const void* query, const void* key_cache, const void* value_cache,
                                      const int* block_tables, const int* context_lens, void* out, int num_seqs,
                                      int num_heads, int num_kv_heads, int head_dim, int block_size, int max_blocks,
                                      float scale, int dtype, cudaStream_t stream) {
    const Arguments x = {query,     key_cache,    value_cache, block_tables, context_lens, out,   num_seqs,
                         num_heads, num_kv_heads, head_dim,    block_size,   max_blocks,   scale, dtype, stream};
    return with_attention(x, [](const auto& a) { return launch_grouped(a, 1); });
}

// num_splits does not depend on what lies in device memory, so that a CUDA graph stays right when contexts grow: a
// split takes `split_tokens` keys, or more where the context does not fit into num_splits; splits beyond it return.
// partial_out: [num_seqs, num_heads, num_splits, head_dim]; partial_lse: [num_seqs, num_heads, num_splits]; null for 1
// tiles: null, or [num_seqs] of (row of block_tables, row of query and out, 1, keys to see) instead of context_lens
extern "C" int paged_decode_4_split_kv(const void* query, const void* key_cache, const void* value_cache,
                                       const int* block_tables, const int* context_lens, const int4* tiles, void* out,
                                       float* partial_out, float* partial_lse, int num_seqs, int num_heads,
                                       int num_kv_heads, int head_dim, int block_size, int max_blocks, int num_splits,
                                       int split_tokens, float scale, int dtype, cudaStream_t stream) {
    const Arguments x = {query,     key_cache,    value_cache, block_tables, context_lens, out,   num_seqs,
                         num_heads, num_kv_heads, head_dim,    block_size,   max_blocks,   scale, dtype, stream};
    const Splits splits = {tiles, partial_out, partial_lse, num_splits, split_tokens};
    return launch_split(x, splits, [](const auto& a) { return launch_grouped(a, 1); });
}

extern "C" int paged_decode_5_async(const void* query, const void* key_cache, const void* value_cache,
                                    const int* block_tables, const int* context_lens, const int4* tiles, void* out,
                                    float* partial_out, float* partial_lse, int num_seqs, int num_heads,
                                    int num_kv_heads, int head_dim, int block_size, int max_blocks, int num_splits,
                                    int split_tokens, float scale, int dtype, cudaStream_t stream) {
    const Arguments x = {query,     key_cache,    value_cache, block_tables, context_lens, out,   num_seqs,
                         num_heads, num_kv_heads, head_dim,    block_size,   max_blocks,   scale, dtype, stream};
    const Splits splits = {tiles, partial_out, partial_lse, num_splits, split_tokens};
    return launch_split(x, splits, [](const auto& a) { return launch_async(a); });
}

// Queries of several tokens per sequence, packed: query, out: [num_tokens, num_heads, head_dim].
// tiles: [num_tiles] of (row of block_tables, first row of query, number of tokens, keys that the first of them sees)
// tile_tokens: no tile has more tokens; 16 / group of them keep all warps of a thread block busy
extern "C" int paged_prefill(const void* query, const void* key_cache, const void* value_cache, const int* block_tables,
                             const int4* tiles, void* out, int num_tiles, int tile_tokens, int num_heads,
                             int num_kv_heads, int head_dim, int block_size, int max_blocks, float scale, int dtype,
                             cudaStream_t stream) {
    const Arguments x = {query,     key_cache,    value_cache, block_tables, nullptr,    out,   num_tiles,
                         num_heads, num_kv_heads, head_dim,    block_size,   max_blocks, scale, dtype, stream};
    return with_attention(x, [&](auto a) {
        a.tiles = tiles;
        return launch_grouped(a, tile_tokens);
    });
}
