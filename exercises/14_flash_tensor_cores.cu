// Exercises of lesson 14: Flash attention: tensor cores.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("14.1").check()` in the notebook, or `yaie check 14.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. Helper functions and constants of your own may stand here.
// generated, text hash 31c6f388854d79b9

// ==================== csrc/flash_attention/flash_attention_4_tensor_cores.cu ====================
//
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
//   while one is computed with, the next is on its way. One barrier for each tile.
// - A warp has 32 rows (16 for head_dim above 128), so that what it fetches of keys and values serves 32 rows at once.
// - Weights are powers of 2, with log2(e) in the scale of the scores: that is what the hardware computes.
// - What was added up is scaled to a new maximum only when that has grown by more than a factor of 2^8.
//
// What it should gain: FlashAttention-2 reaches 350-370 TFLOP/s with this plan at head_dim 128 on an H100 or H200,
// where rungs 2 and 3, without tensor cores, cannot pass 67 (its limit in fp32).
//
// What it did gain on an H100 (README.md): 19 times the speed of rung 3. 371 TFLOP/s, 328 with a causal mask; torch's
// own FlashAttention-2 reached 341 and 305 beside it.
//
// Arguments as problem.cuh says; head_dim a multiple of 8 up to 256, all pointers 16-byte aligned, scale above 0.
//
// These stand in the engine's file, and you may use them:
//     template <typename T>
//     struct Head {
//         const T *query, *key, *value;
//         T* out;
//         int query_stride, key_stride;
//         int q_len, kv_len;
//         int first_row_sees;
//
//         // Where a row begins, from a pointer of this head's. 64 bits: a long batch has more than 2^31 elements.
//         __device__ int64_t to_query(int row) const { return static_cast<int64_t>(row) * query_stride; }
//         __device__ int64_t to_key(int row) const { return static_cast<int64_t>(row) * key_stride; }
//
//         // How many keys query `row` may see; they are the first ones. With a causal mask the queries are the last q_len of
//         // kv_len tokens: row 0 sees kv_len - q_len + 1 keys and each row one more than the row before.
//         __device__ int visible_keys(int row) const { return max(0, min(first_row_sees + row, kv_len)); }
//     };
//     // The head blockIdx.y of the sequence blockIdx.z. Several query heads share a head of keys and values (GQA).
//     template <typename T> __device__ __forceinline__ Head<T> head_of_this_block(const T* query, const T* key, const T* value, T* out, const Problem& problem);
//     template <int BANDS, int BLOCKS>
//     using Accumulators = float[BANDS][BLOCKS][4];
//     template <typename T>
//     __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
//     template <> __device__ __forceinline__ void multiply<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
//     template <> __device__ __forceinline__ void multiply<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
//     // Where the 16-byte chunk of a row lies in a tile. The 8 chunks that ldmatrix reads at once are the same chunk of 8
//     // rows; unswizzled they would all lie in the same 4 banks.
//     template <int HEAD_DIM> __device__ __forceinline__ int place(int row, int chunk);

// ---------- Exercise 14.1: Which element is mine? (about 20 minutes) ----------
//
// Set the scores that a row may not see to -inf. The scores of a warp are spread over its lanes as mma left them; find
// out row and key of each element of yours. The first row of the warp is `first_row`, the first key of the tile
// `first_key`. Example: first_row = 0, first_key = 0; element 3 of lane 5 in band 0, block 2 is row 5 / 4 + 8 = 9, key
// 8 * 2 + (5 % 4) * 2 + 1 = 19. Row 9 sees 10 keys under a causal mask, so this score becomes -inf.
template <typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Head<T>& head, int first_row,
                                            int first_key) {
    // exercise 14.1: write this function
}

// ---------- Exercise 14.2: Scores with ldmatrix and mma (about 35 minutes) ----------
//
// Compute the scores of the warp's rows and all keys of the tile on tensor cores. Go through head_dim in steps of 16
// columns (two chunks of 8). In each step fetch the left operand (16 rows x 16 columns) of each band with
// `ldmatrix_x4`, and for every 16 keys two right operands (16 columns x 8 keys) with another; multiply them into
// scores[band][block] and scores[band][block + 1]. With a query of ones and 4 keys of zeros, twos, zeros and zeros in
// 16 columns, the scores are 0, 32, 0, 0.
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    // exercise 14.2: write this function
}

// ---------- Exercise 14.3: A pipeline of copies (about 20 minutes) ----------
//
// Come to tile number `tile`: see to it that all threads may read it, then start the copy of the next one, so that it
// travels while this one is computed with. Two stages take turns: the next tile goes where the last one was. With 3
// tiles the order is: (copy 0 started before), come to 0: wait for 0, start 1; come to 1: wait for 1, start 2; come to
// 2: wait for 2.
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    // exercise 14.3: write this function
}
