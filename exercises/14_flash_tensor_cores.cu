// Exercises of lesson 14: Flash attention: tensor cores.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("14.1").check()` in the notebook, or `yaie check 14.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash c471b6f2e50ffcd2

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
//   while one is computed with, the next is in flight. One barrier for each tile.
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
// The engine's file has these, and you may use them:
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
//     template <int BANDS, int BLOCKS>
//     using Accumulators = float[BANDS][BLOCKS][4];
//     template <typename T>
//     __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
//     template <> __device__ __forceinline__ void multiply<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
//     template <> __device__ __forceinline__ void multiply<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
//     // Where the 16-byte chunk of a row lies in a tile. The 8 chunks that ldmatrix reads at once are the same chunk of 8
//     // rows; unswizzled they would all lie in the same 4 banks.
//     template <int HEAD_DIM> __device__ __forceinline__ int place(int row, int chunk);
//     // The weights of 16 keys as the left operand of the next product. Of an operand's four registers, 0 and 1 hold the rows
//     // l / 4 and l / 4 + 8 of the first 8 columns, 2 and 3 of the last 8: exactly the elements that the lane has.
//     template <typename T> __device__ __forceinline__ void to_operand(const float (&left)[4], const float (&right)[4], uint32_t (&a)[4]);

// ---------- Exercise 14.1: Which element is mine? (about 20 minutes) ----------
//
// Set the scores of keys that a row may not see to -inf, and leave the others as they are.
//
// `scores[band][block][i]` are this lane's elements of the warp's scores, where mma has left them:
// bands of 16 rows, blocks of 8 keys, and 4 elements for each lane in a 16 x 8 product. `first_row` is
// row 0 of band 0. `first_key` is key 0 of block 0. All 32 lanes call the function.
//
// You may use `head.visible_keys(row)`: how many keys the row may see, from key 0 on.
//
// Lane 5 with first_row 0 and first_key 0, causal, as many queries as keys:
//
// | band, block, i | row | key | the row sees | the score |
// |---|---|---|---|---|
// | 0, 0, 0 | 1 | 2 | 2 keys: 0 and 1 | becomes -inf |
// | 0, 0, 3 | 9 | 3 | 10 keys | stays |
// | 0, 2, 3 | 9 | 19 | 10 keys | becomes -inf |
// | 1, 2, 0 | 17 | 18 | 18 keys: 0 to 17 | becomes -inf |
template <typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Head<T>& head, int first_row,
                                            int first_key) {
    // exercise 14.1: write this function
}

// ==================== csrc/primitives/tile_product.cu ====================
//
// The product of two narrow matrices on tensor cores: c = a * b^T, with sums in float, by one warp.
//
// a: [16, depth], b: [8, depth], float16; c: [16, 8]. depth is a multiple of 16; all pointers are 16-byte aligned.
//
// The engine's file has these, and you may use them:
//     // Two neighbours of a row, as one register.
//     __device__ __forceinline__ uint32_t two_at(const __half* place);

// ---------- Exercise 14.2: One mma (about 20 minutes) ----------
// Launched by `tile_product`: tile_product_kernel<<<1, 32, 0, stream>>>(a, b, c, depth)
//
// Multiply two narrow matrices on tensor cores: c = a x b^T. One warp of 32 lanes does it.
//
// | argument | shape | |
// |---|---|---|
// | `a` | `[16, depth]` | float16 |
// | `b` | `[8, depth]` | float16; row n of `b` is column n of the right matrix |
// | `c` | `[16, 8]` | float; row m, column n is the dot product of row m of `a` and row n of `b` |
//
// depth is a multiple of 16. There is one mma for each 16 columns, and it goes on from the sums of the
// one before. Each lane fetches its own elements from global memory, each of them once: no `ldmatrix`
// and no shared memory is needed.
//
// You may use `yaie::mma_m16n8k16_f16(d, left, right, sums)`: d = left x right + sums, where d may be
// sums. `left` is `uint32_t[4]`, `right` is `uint32_t[2]`, the others are `float[4]`. A `uint32_t` holds two
// neighbours of a row of `a` or `b`, the first in its lower half, as they lie in memory.
//
// With depth 32, in the second step, lane 5 has
//
// | | elements |
// |---|---|
// | `left` | a[1][18], a[1][19]; a[9][18], a[9][19]; a[1][26], a[1][27]; a[9][26], a[9][27] |
// | `right` | b[1][18], b[1][19]; b[1][26], b[1][27] |
// | `d` | c[1][2], c[1][3], c[9][2], c[9][3] |
__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    // exercise 14.2: write this function
}

// ---------- Exercise 14.3: Scores with ldmatrix and mma (about 35 minutes) ----------
//
// Add queries x keys to the scores of a warp, on tensor cores.
//
// `queries` and `keys` are tiles in shared memory, arrays of 16-byte chunks: 8 columns of head_dim
// each. Chunk c of row r is at `place<HEAD_DIM>(r, c)` (the swizzle). Warp w has the rows from
// 16 * BANDS * w on of the tile of queries, and all 8 * BLOCKS keys. `scores[band][block]` belongs to
// 16 of these rows and 8 of these keys. The profile must show no bank conflicts.
//
// You may use `yaie::ldmatrix_x4(registers, address)` and `multiply<T>(d, a, b)`: d += a * b, the mma
// for the type T, with a[4] of 16 rows and b[2] of 8 keys.
//
// Columns 16 to 31 of head_dim (chunks 2 and 3), warp 1, BANDS = 2: for the fetch of
//
// | operand | lane 9 gives the address of |
// |---|---|
// | left, band 0 | row 41, chunk 2 |
// | left, band 1 | row 57, chunk 2 |
// | right, blocks 0 and 1 | key 1, chunk 3 |
// | right, blocks 2 and 3 | key 17, chunk 3 |
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    // exercise 14.3: write this function
}

// ---------- Exercise 14.4: Weights times values in fragments (about 25 minutes) ----------
//
// Add weights x values to the sums of a warp, on tensor cores. The weights lie in registers, where the
// scores of 14.3 were; the values lie in shared memory.
//
// | argument | meaning |
// |---|---|
// | `weights` | `weights[band][block]` belongs to 16 rows of the warp and 8 keys, laid out as mma leaves sums |
// | `values` | a tile of 8 * BLOCKS keys: chunk c of key r is at `place<HEAD_DIM>(r, c)` |
// | `sums` | `sums[band][c]` belongs to 16 rows and 8 columns of head_dim; what is there stays in the sum |
//
// BLOCKS and COLUMN_BLOCKS = HEAD_DIM / 8 are even. The weights are rounded to 16 bits, and never leave
// the registers. There is one mma for each 16 rows, 16 keys and 8 columns. The profile must show no
// bank conflicts.
//
// You may use `to_operand<T>(left, right, a)`, which makes the left operand of 16 keys out of the weights
// of two blocks; `yaie::ldmatrix_x4_trans(registers, address)`, which fetches four matrices of 8 x 8 and
// transposes each; and `multiply<T>(d, a, b)`: d += a * b.
//
// With 16 keys from key 16 on and columns 32 to 47 (chunks 4 and 5), for one fetch of right operands:
//
// | lane | gives the address of |
// |---|---|
// | 0 | key 16, chunk 4 |
// | 9 | key 25, chunk 4 |
// | 17 | key 17, chunk 5 |
// | 31 | key 31, chunk 5 |
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void add_values(const Accumulators<BANDS, BLOCKS>& weights, const uint4* values,
                                           Accumulators<BANDS, COLUMN_BLOCKS>& sums) {
    // exercise 14.4: write this function
}

// ---------- Exercise 14.5: A pipeline of copies (about 20 minutes) ----------
//
// Come to tile number `tile` of `num_tiles`, in a pipeline with two stages. All threads of the block
// call it at the top of the loop over the tiles.
//
// When it returns, all threads may read tile `tile`, and the copy of tile + 1, if there is one, is in
// flight. That copy goes to the stage of tile - 1; no warp may still be reading that stage.
//
// `start_tile(n)` starts this thread's part of the copy of tile n, but does not close a group. The
// copy of tile 0 was started, and its group closed, before the loop.
//
// | call | may be read afterwards | in flight afterwards |
// |---|---|---|
// | `next_tile(0, 3, start_tile)` | tile 0 | tile 1 |
// | `next_tile(1, 3, start_tile)` | tile 1 | tile 2 |
// | `next_tile(2, 3, start_tile)` | tile 2 | nothing |
//
// You may use `yaie::cp_async_commit()`, which closes a group of this thread's copies, and
// `yaie::cp_async_wait<n>()`, which waits until at most n groups of this thread are in flight.
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    // exercise 14.5: write this function
}
