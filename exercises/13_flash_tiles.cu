// Exercises of lesson 13: Flash attention: tiles.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("13.1").check()` in the notebook, or `yaie check 13.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash 8cb8834812321a3d

// ==================== csrc/flash_attention/flash_attention_2_tiles.cu ====================
//
// Rung 2 of flash attention: tiles of keys and values in shared memory, and a running maximum and sum for each row.
//
// What changed: a thread block takes 32 query rows through all keys, 32 keys at a time. A row keeps the largest score
// so far, the sum of its weights exp(score - largest), and the weighted sum of the values. When a tile brings a
// larger score, what was added up before is scaled down to the new maximum; so the result is the softmax over all
// keys, although no more than 32 scores of a row exist at a time.
//
// What it should gain: no scores in memory, and a tile of keys and values is read once for 32 rows instead of once
// for each row. The emulator's profile() counts the bytes.
//
// What it did gain on an H100 (README.md): 9 times the speed of rung 1, and still only 8.5 TFLOP/s.
//
// Warp w has the rows 4w to 4w + 3 of the block's 32. While a row is scored, lane i has key i of the tile; when the
// values are added up, lane i has the columns i, i + 32, ... of the row.
//
// Arguments as problem.cuh says.
//
// The engine's file has these, and you may use them:
//     __device__ __forceinline__ float to_float(float x);
//     __device__ __forceinline__ float to_float(__half x);
//     __device__ __forceinline__ float to_float(__nv_bfloat16 x);
//     // The sum (or maximum) over the 32 lanes of a warp, in every lane. All lanes must call it.
//     __device__ __forceinline__ float warp_sum(float value);
//     __device__ __forceinline__ float warp_max(float value);
//     constexpr int ROWS = 32, KEYS = 32, WARPS = 8, ROWS_PER_WARP = ROWS / WARPS;
//     struct Running {
//         float most, sum;
//     };

// ---------- Exercise 13.1: Load a tile (about 15 minutes) ----------
//
// Copy 32 rows of one head from global memory into a tile in shared memory, as floats. All threads of
// the block call it together, once each for queries, keys and values.
//
// | argument | meaning |
// |---|---|
// | `rows`, `stride` | the head's first row in memory; from row to row it is `stride` elements |
// | `first`, `count` | row 0 of the tile is row `first` of `count` |
// | `head_dim` | numbers in a row |
// | `tile`, `tile_stride` | the tile; from row to row it is `tile_stride` floats |
//
// Row i of the tile (i below KEYS = 32) is row first + i, or zeros where there is no such row.
// `stride` and `tile_stride` may be larger than head_dim. Neighbouring threads read neighbouring
// columns. You may use `to_float(element)`.
//
// With head_dim 4, stride 8, first 32, count 33 and tile_stride 5:
//
// | in the tile | row, columns | holds |
// |---|---|---|
// | `tile[0]` to `tile[3]` | 0, 0 to 3 | `rows[256]` to `rows[259]` |
// | `tile[5]` to `tile[8]` | 1, 0 to 3 | 0, since row 33 does not exist |
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    // exercise 13.1: write this function
}

// ---------- Exercise 13.2: Running maximum and sum (about 20 minutes) ----------
//
// Take the scores of one more tile of 32 keys into the running softmax of a row.
//
// All 32 lanes of a warp call it. `score` is the score of the lane's own key, -inf if the row may not
// see that key. `row` is the same in all lanes.
//
// | | afterwards |
// |---|---|
// | `row.most` | the largest score of the row so far |
// | `row.sum` | the sum of exp(score - row.most) over all keys so far |
// | `rescale` | what sums made with the old maximum must be multiplied by |
// | returned | the weight of the lane's own key, exp(score - row.most) |
//
// As long as a row has seen no key, `row.most` is -inf; then the weight is 0, and nothing becomes NaN.
// You may use `warp_max(value)` and `warp_sum(value)`: over the 32 lanes, in every lane.
//
// With scores in units of ln 2: a row has seen 1 and 0, and the tile brings 2, 2 and 30 times -inf.
//
// | | `row.most` | `row.sum` | `rescale` | returned |
// |---|---|---|---|---|
// | before | 1 | 1.5 | | |
// | after | 2 | 2.75 | 0.5 | 1, 1, and 0 in the other lanes |
__device__ float take_scores(float score, Running& row, float& rescale) {
    // exercise 13.2: write this function
    return {};
}

// ==================== csrc/flash_attention/flash_attention_3_registers.cu ====================
//
// Rung 3 of flash attention: tiles of keys that no row may see are skipped, and each thread works on a tile in
// registers.
//
// What changed:
// - With a causal mask a block of rows visits only the tiles of keys up to its last row: half of them on average.
//   Keys are compared with the mask only in the tiles that need it.
// - Rung 2 reads two numbers from shared memory for each multiplication. Here a thread has 4 rows and 4 keys: it reads
//   4 + 4 numbers for 16 multiplications of the scores, and likewise for the weighted sums. It reads four at once.
//
// What it should gain: twice by skipping at long causal prompts; the rest is bound by float multiplications and no
// longer by shared memory.
//
// What it did gain on an H100 (README.md): 2.3 times without a mask, 4.5 times with one; 20 TFLOP/s.
//
// Thread (ty, tx) of 16 x 16 has the rows R * ty to R * ty + R - 1, the keys tx, tx + 16, ... of a tile, and of the
// sums the columns 4 * tx to 4 * tx + 3, and so on in steps of 64. The 16 threads of a row are half a warp.
//
// Arguments as problem.cuh says; head_dim a multiple of 8 up to 256, all pointers 16-byte aligned.
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
//     constexpr int SIDE = 16, THREADS = SIDE * SIDE;
//     struct Tiles {
//         int seen_by_all, to_visit;
//     };
//     // Add a . b to a sum.
//     __device__ __forceinline__ void add_dot(float& sum, float4 a, float4 b);

// ---------- Exercise 13.3: Skip the tiles that nobody sees (about 15 minutes) ----------
//
// Say which tiles of TILE keys a block of TILE query rows has to visit, and which of those need no
// mask. The block has the rows from `first_row` on.
//
// The result is a `Tiles`. The first `to_visit` tiles hold all keys that some row of the block may
// see; a tile of which no row sees a key is not visited. The first `seen_by_all` of them are seen by
// all rows, as a whole.
//
// You may use `head.visible_keys(row)`: how many keys the row may see. They are the first ones. It
// knows the mask, a cached prefix and the end of the keys, and may be asked for rows beyond the end. A
// later row never sees fewer.
//
// | queries, keys | rows | first row sees | last row sees | `to_visit` | `seen_by_all` |
// |---|---|---|---|---|---|
// | 256, 256, causal | 0 to 63 | 1 | 64 | 1 | 0 |
// | 256, 256, causal | 128 to 191 | 129 | 192 | 3 | 2 |
// | 64, 256, causal | 0 to 63 | 193 | 256 | 4 | 3 |
// | 10, 70, no mask | 0 to 63 | 70 | 70 | 2 | 1 |
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    // exercise 13.3: write this function
    return {};
}

// ---------- Exercise 13.4: A tile in registers (about 25 minutes) ----------
//
// Compute the scores of R rows and R keys for each thread, in registers: dot products of rows of two
// tiles in shared memory. All threads of the block call it, 16 x 16 of them.
//
// | argument | meaning |
// |---|---|
// | `queries`, `keys` | tiles of 16 * R rows; row r begins at `r * stride`, a multiple of 4, and has head_dim floats |
// | `head_dim` | a multiple of 4 |
// | `scores` | the thread's own `[R][R]`; what was there before does not count |
//
// Thread number t has ty = t / SIDE and tx = t % SIDE, with SIDE = 16. Its rows are R * ty, R * ty + 1, ...
// of `queries`, R in all. Its keys are tx, tx + SIDE, tx + 2 * SIDE, ... of `keys`, R in all.
// `scores[r][i]` is the dot product of its row r and its key i.
//
// A thread reads each number of its rows and keys from shared memory once, four neighbours at a time:
// 2 * R reads of 16 bytes for 4 * R * R multiplications. The profile must show no bank conflicts where
// stride is head_dim + 4.
//
// With R = 4, thread 35:
//
// | | |
// |---|---|
// | ty, tx | 2, 3 |
// | its rows | 8, 9, 10, 11 |
// | its keys | 3, 19, 35, 51 |
// | `scores[1][2]` | row 9 times key 35 |
//
// You may use `add_dot(sum, a, b)`: sum += a.x * b.x + ... + a.w * b.w, for two `float4`.
template <int R>
__device__ __forceinline__ void score_keys(const float* queries, const float* keys, int stride, int head_dim,
                                           float (&scores)[R][R]) {
    // exercise 13.4: write this function
}
