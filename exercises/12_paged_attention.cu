// Exercises of lesson 12: Paged attention.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("12.1").check()` in the notebook, or `yaie check 12.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. Helper functions and constants of your own may stand here.
// generated, text hash 4ecd6f5984f2e84d

// ==================== csrc/paged_attention/paged_attention.cu ====================
//
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
//
// These stand in the engine's file, and you may use them:
//     __device__ __forceinline__ float to_float(float x);
//     __device__ __forceinline__ float to_float(__half x);
//     __device__ __forceinline__ float to_float(__nv_bfloat16 x);
//     // The sum (or maximum) over the 32 lanes of a warp, in every lane. All lanes must call it.
//     __device__ __forceinline__ float warp_sum(float value);
//     constexpr int DIMS_PER_LANE = MAX_HEAD_DIM / 32;
//     constexpr float LOG2_E = 1.4426950408889634f;

// ---------- Exercise 12.1: The page walk (about 10 minutes) ----------
//
// Say where in the cache a token lies, counted in tokens. With pages of 4 and the block table [1, 0], the token at
// position 2 is row 2 of block 1, slot 6, and the token at position 5 is row 1 of block 0, slot 1.
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    // exercise 12.1: write this function
    return {};
}

// ---------- Exercise 12.2: The online softmax (about 15 minutes) ----------
//
// Let the running maximum grow to a new score. What was added up relative to the old maximum must be multiplied by
// 2^(old maximum - new maximum): do so with `total`, and return the factor. With `largest` 3, `total` 5 and a score of
// 4, `largest` becomes 4, `total` 2.5, and 0.5 is returned. A score of 1 changes nothing and returns 1.
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    // exercise 12.2: write this function
    return {};
}

// ---------- Exercise 12.3: A dot product by a warp (about 15 minutes) ----------
//
// 32 lanes compute the dot product of a query and a key together, and each of them returns it. Lane l takes the
// elements l, l + 32, l + 64, ... With head_dim 40, lanes 0 to 7 take two elements and the others one; lane 3 takes
// key[3] and key[35], times query[0] and query[1], which are its own.
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
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    // exercise 12.4: write this function
    return {};
}
