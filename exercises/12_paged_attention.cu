// Exercises of lesson 12: Paged attention.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("12.1").check()` in the notebook, or `yaie check 12.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. Helper functions and constants of your own may stand here.
// generated, text hash 8abacf8332dfc895

// ==================== csrc/paged_attention/problem.cuh ====================
//
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

// ---------- Exercise 12.1: The page walk (about 10 minutes) ----------
//
// Say where in the cache a token lies, counted in tokens. With pages of 4 and the block table [1, 0], the token at
// position 2 is row 2 of block 1, slot 6, and the token at position 5 is row 1 of block 0, slot 1.
//
// pool. Page number i of the sequence is block block_table[i] of the pool; pages have block_size tokens.
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    // exercise 12.1: write this function
    return {};
}

// ==================== csrc/paged_attention/softmax.cuh ====================
//
// The softmax of a row that is never there as a whole: taken over its keys one after the other, and merged from parts.
// All exponentials and logarithms are to base 2.

// ---------- Exercise 12.2: The online softmax (about 15 minutes) ----------
//
// Let the running maximum grow to a new score. What was added up relative to the old maximum must be multiplied by
// 2^(old maximum - new maximum): do so with `total`, and return the factor. With `largest` 3, `total` 5 and a score of
// 4, `largest` becomes 4, `total` 2.5, and 0.5 is returned. A score of 1 changes nothing and returns 1.
//
// maximum is too large now, and must be multiplied by the factor that is returned, 2^(old maximum - new maximum); for
// `total`, the sum of the weights, it is done here.
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    // exercise 12.2: write this function
    return {};
}

// ==================== csrc/paged_attention/paged_decode_2_warp_per_head.cu ====================
//
// Rung 2 of paged decode: a warp per query head, its lanes side by side along head_dim.
//
// What changed: a row is read in whole sectors, and the sums stay in registers. It is still one key at a time: the next
// load waits for a dot product of five shuffles, and each head of a group reads the same keys.
//
// What it did gain on an H100 (README.md): 17 times the speed of rung 1.
//
// Arguments as problem.cuh says.
//
// These stand in the engine's file, and you may use them:
//     __device__ __forceinline__ float to_float(float x);
//     __device__ __forceinline__ float to_float(__half x);
//     __device__ __forceinline__ float to_float(__nv_bfloat16 x);
//     // The sum (or maximum) over the 32 lanes of a warp, in every lane. All lanes must call it.
//     __device__ __forceinline__ float warp_sum(float value);
//     constexpr float LOG2_E = 1.4426950408889634f;
//     constexpr int DIMS_PER_LANE = MAX_HEAD_DIM / 32;

// ---------- Exercise 12.3: A dot product by a warp (about 15 minutes) ----------
//
// 32 lanes compute the dot product of a query and a key together, and each of them returns it. Lane l takes the
// elements l, l + 32, l + 64, ... With head_dim 40, lanes 0 to 7 take two elements and the others one; lane 3 takes
// key[3] and key[35], times query[0] and query[1], which are its own.
//
// the query, in query[0], query[1], ..., query[DIMS_PER_LANE - 1] (0 beyond head_dim), so that a warp reads 32
// neighbouring elements of the key at a time. All lanes must call it.
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    // exercise 12.3: write this function
    return {};
}

// ---------- Exercise 12.4: Merge the splits of a context (about 20 minutes) ----------
//
// Some sets of keys were attended to apart. Each left an output and the logarithm (base 2) of its total weight. Merge
// them: the mean of the outputs, weighted by 2^lse. With outputs 10 and 40 and lses 1 and 2, the weights are 2 and 4,
// the result is (2 * 10 + 4 * 40) / 6 = 30, and `lse` becomes log2(6).
//
// parts[i * stride], and in lses[i] the base-2 logarithm of its total weight. The merged element, which is returned, is
// the mean of the parts weighted by 2^lses[i]; `lse` receives the logarithm of the total weight of all sets.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    // exercise 12.4: write this function
    return {};
}
