// Exercises of lesson 13: Flash attention: tiles.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("13.1").check()` in the notebook, or `yaie check 13.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. Helper functions and constants of your own may stand here.
// generated, text hash 5ecc60ee123ee929

// ==================== csrc/flash_attention/flash_attention_2_tiles.cu ====================
//
// Rung 2 of flash attention: tiles of keys and values in shared memory, and a running maximum and sum for each row.
//
// What changed: a thread block takes 32 query rows through all keys, 32 keys at a time. A row keeps the largest score
// so far, the sum of its weights exp(score - largest), and the weighted sum of the values. When a tile brings a
// larger score, what was added up before is scaled down to the new maximum; so the result is the softmax over all
// keys, although no more than 32 scores of a row exist at a time.
//
// What it should gain: no scores in memory, and a tile of keys and values is read once for 32 rows and not once for
// each row. The emulator's profile() shows the bytes (lesson 13).
//
// What it did gain on an H100 (README.md): 9 times the speed of rung 1, and still only 8.5 TFLOP/s.
//
// Warp w has the rows 4w to 4w + 3 of the block's 32. While a row is scored, lane i has key i of the tile; when the
// values are added up, lane i has the columns i, i + 32, ... of the row.
//
// Arguments as problem.cuh says.
//
// These stand in the engine's file, and you may use them:
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
// Copy a tile of 32 rows from global into shared memory, with all threads of the block. Row i of the tile is row `first
// + i` of `rows`, or zeros where there are no more rows. With first = 32 and count = 33, row 0 of the tile is row 32
// and the other 31 are zeros. Neighbouring threads take neighbouring columns.
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    // exercise 13.1: write this function
}

// ---------- Exercise 13.2: Running maximum and sum (about 20 minutes) ----------
//
// A row has seen some tiles and comes to the next one; each lane of the warp has the score of one key. Bring the row's
// maximum and sum up to date, give back the lane's weight exp(score - maximum), and say by which factor what was added
// up before must be multiplied. Example with ln 2 as the unit: the row has seen the scores 1 and 0, so most = 1 and sum
// = 1 + 1/2. The tile brings a single score of 2: most becomes 2, rescale is 1/2, the weight of the new key is 1, and
// sum becomes 1.5 / 2 + 1 = 1.75.
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
//     struct Tiles {
//         int seen_by_all, to_visit;
//     };

// ---------- Exercise 13.3: Skip the tiles that nobody sees (about 15 minutes) ----------
//
// Say which tiles of keys a block of TILE rows has to visit, and which of these need no mask, because all rows of the
// block see all of their keys. Causal, 128 queries and keys, tiles of 64: the block with rows 0 to 63 visits 1 tile
// (row 63 sees 64 keys), and none of its tiles is seen by all (row 0 sees 1 key). The block with rows 64 to 127 visits
// 2, and the first is seen by all.
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    // exercise 13.3: write this function
    return {};
}
