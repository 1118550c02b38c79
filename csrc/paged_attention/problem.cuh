// What every kernel of paged attention gets, and where in the pages it finds a token.
//
// query, out: [num_seqs, num_heads, head_dim] for a decode (one query per sequence); element types as `dtype` says
// key_cache, value_cache: one layer of the pool, [num_blocks, block_size, num_kv_heads, head_dim], of less than 2^31
//     slots (tokens)
// block_tables: [num_seqs, max_blocks]; entries beyond a sequence's context are not read
// context_lens: [num_seqs], the tokens that each query sees; 0 gives zeros
//
// Query head h reads KV head h / group, with group = num_heads / num_kv_heads. head_dim: multiples of 8 up to 256.
// Scores, softmax and sums are in float. Scores are multiplied by log2(e) beforehand, and the weights are 2^x instead
// of e^x: the card computes 2^x in one instruction.
#pragma once
#include "../common.cuh"

constexpr int MAX_HEAD_DIM = 256;
constexpr int WARPS = 4;  // in a thread block
constexpr int THREADS = 32 * WARPS;
constexpr float LOG2_E = 1.4426950408889634f;

// Sizes of a launch. A tile is up to tile_tokens query tokens of one sequence that read the same pages.
struct PagedShape {
    int num_tiles;    // for a decode: num_seqs, a tile per sequence
    int tile_tokens;  // for a decode: 1
    int num_heads, num_kv_heads, head_dim;
    int block_size;    // tokens of a page
    int max_blocks;    // entries of a row of block_tables
    int num_splits;    // thread blocks that share a context, in rungs 4 to 6; elsewhere it is ignored
    int split_tokens;  // keys that a split takes at least
    float scale;       // of the scores
    int dtype;         // DTYPE_... of query, caches and out
};

// What a kernel gets.
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
    float scale;  // of the scores, log2(e) included
    int num_splits, split_tokens;
    int* counters;  // [num_tiles, num_kv_heads], of the thread blocks that have ended; null: another kernel merges
    int row_warps;  // warps of a block that take different rows; the others share the keys of these
    cudaStream_t stream;
};

// The slot of the token at `position` of a sequence: its place in the cache, counted in tokens from the start of the
// pool. Page number i of the sequence is block block_table[i] of the pool; pages have block_size tokens.
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    return block_table[position / block_size] * block_size + position % block_size;
}

// A tile of queries that read the same pages: (sequence, first query token, number of tokens, keys that the first token
// sees; each later token sees one more).
template <typename T>
__device__ __forceinline__ int4 tile_of(const Attention<T>& a, int index) {
    return a.tiles ? a.tiles[index] : make_int4(index, index, 1, a.context_lens[index]);
}

// The tensors of a launch, of any element type.
struct PagedTensors {
    const void *query, *key_cache, *value_cache;
    const int *block_tables, *context_lens;
    const int4* tiles;
    void* out;
};

// Call `launch` with an Attention<T> for the element type of `s`, without splits. It is not called where there are no
// tiles, nor for a shape that the kernels do not take.
template <typename F>
static int with_attention(const PagedTensors& t, const PagedShape& s, cudaStream_t stream, F launch) {
    const bool known = s.head_dim >= 8 && s.head_dim <= MAX_HEAD_DIM && s.head_dim % 8 == 0 && s.num_kv_heads > 0 &&
                       s.num_heads % s.num_kv_heads == 0 && s.block_size > 0;
    if (!known) {
        return cudaErrorInvalidValue;
    }
    if (s.num_tiles == 0) {
        return cudaSuccess;
    }
    return dispatch_dtype(s.dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        const T *query = static_cast<const T*>(t.query), *key_cache = static_cast<const T*>(t.key_cache);
        const T* value_cache = static_cast<const T*>(t.value_cache);
        T* out = static_cast<T*>(t.out);
        const float scale = s.scale * LOG2_E;
        return launch(Attention<T>{
            query, key_cache, value_cache, t.block_tables, t.context_lens, t.tiles, out, nullptr, nullptr,
            s.num_tiles, s.num_heads, s.num_kv_heads, s.head_dim, s.block_size, s.max_blocks,
            scale, /*num_splits=*/1, s.split_tokens, /*counters=*/nullptr, /*row_warps=*/0, stream});
    });
}
