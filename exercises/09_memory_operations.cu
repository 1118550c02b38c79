// Exercises of lesson 09: Memory operations.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("9.1").check()` in the notebook, or `yaie check 9.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash 2fcd5113e02d151d

// ==================== csrc/memory/copy_blocks.cu ====================
//
// Copy whole blocks of the KV cache inside the cache, in place: what a fork needs before it writes (copy on write).
//
// key_cache, value_cache: [num_layers, num_blocks, block_bytes], any dtype
// block_mapping: [num_pairs, 2], (source, target) block ids. No block may be the target of two pairs, or target and
//     source at once: the pairs are copied at the same time.
//
// 1 copy_blocks_1_elements   moves units of 4 bytes: 32 threads of a warp move 128 bytes with one instruction
// 2 copy_blocks_2_vectors    moves units of 16 bytes: four times fewer instructions for the same bytes
//
// Both take all layers, keys and values in one launch: a grid of (num_pairs, num_layers, 2) thread blocks.

// ---------- Exercise 9.1: Copy blocks of the KV cache (about 20 minutes) ----------
// Launched by `launch_copy`: copy_blocks_kernel<Unit><<<grid, threads_for(units), 0,
//     stream>>>(static_cast<Unit*>(key_cache), static_cast<Unit*>(value_cache), block_mapping, num_blocks, units)
//
// Copy blocks of the KV cache inside the cache, in place: in every layer, keys and values.
//
// | argument | shape, in units |
// |---|---|
// | `key_cache`, `value_cache` | `[num_layers, num_blocks, units_per_block]` |
// | `block_mapping` | `[num_pairs, 2]`: source and target |
//
// Thread block (x, y, z) copies pair x in layer y; z is 0 for the key cache and 1 for the value cache.
// It has at most 256 threads, and a block of the cache may have more units. Nothing else changes.
// Neighbouring threads move neighbouring units: the profile must show no wasted sectors.
//
// With block_mapping = [[0, 2]], 2 layers and 3 blocks of 2 units:
//
// | key cache | block 0 | block 1 | block 2, before | block 2, after |
// |---|---|---|---|---|
// | layer 0 | 0 1 | 2 3 | 4 5 | 0 1 |
// | layer 1 | 6 7 | 8 9 | 10 11 | 6 7 |
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    // exercise 9.1: write this function
}

// ==================== csrc/memory/reshape_and_cache.cu ====================
//
// Write the keys and values of new tokens into the paged cache, each at the slot that slot_mapping names.
//
// key, value: [num_tokens, token_bytes] (all KV heads of a token, contiguous), any dtype
// key_cache, value_cache: one layer of the pool, [num_blocks * block_size, token_bytes]
// slot_mapping: [num_tokens]; slot = block * block_size + row. A negative slot is skipped: a batch that is padded for a
//     CUDA graph has tokens of no request.

// ---------- Exercise 9.2: Write new tokens into their slots (about 15 minutes) ----------
// Launched by `reshape_and_cache`: reshape_and_cache_kernel<Unit><<<num_tokens, threads_for(units), 0,
//     stream>>>(static_cast<const Unit*>(key), static_cast<const Unit*>(value), static_cast<Unit*>(key_cache),
//     static_cast<Unit*>(value_cache), slot_mapping, units)
//
// Write the keys and values of new tokens into their slots of the paged cache.
//
// | argument | shape, in units |
// |---|---|
// | `key`, `value` | `[num_tokens, units_per_token]` |
// | `key_cache`, `value_cache` | `[num_slots, units_per_token]` |
// | `slot_mapping` | `[num_tokens]`; a negative slot is padding and is stored nowhere |
//
// Thread block b stores token b: row b of `key` goes to row `slot_mapping[b]` of `key_cache`, and the
// same for `value`. A row may have more units than the thread block has threads. Neighbouring threads
// move neighbouring units.
//
// With slot_mapping = [3, -1, 0], rows of 2 units and 4 slots of zeros:
//
// | token | row of `key` | slot | `key_cache` afterwards |
// |---|---|---|---|
// | 0 | 1 2 | 3 | row 3 is 1 2 |
// | 1 | 3 4 | none | rows 1 and 2 stay 0 0 |
// | 2 | 5 6 | 0 | row 0 is 5 6 |
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    // exercise 9.2: write this function
}

// ==================== csrc/memory/transpose.cu ====================
//
// Transpose a matrix: y[c][r] = x[r][c]. Nothing is computed, so all that matters is how memory is touched.
//
// 1 transpose_1_naive    reads along rows and writes along columns: neighbouring threads write far apart
// 2 transpose_2_tiled    goes through a tile in shared memory, so that both sides run along rows; but a column of the
//                        tile lies in one bank, and its 32 reads queue up
// 3 transpose_3_padded   one column more in the tile: the reads of a column fall into 32 different banks
//
// The engine's file has these, and you may use them:
//     constexpr int TILE = 32;  // a thread block has TILE x TILE threads

// ---------- Exercise 9.3: Transpose through shared memory (about 25 minutes) ----------
// Launched by `transpose_2_tiled`: transpose_tile_kernel<0><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x,
//     y, rows, cols)
// Launched by `transpose_3_padded`: transpose_tile_kernel<1><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x,
//     y, rows, cols)
//
// Transpose a matrix of floats through a tile in shared memory: y[c][r] = x[r][c]. Reads of `x` and
// writes of `y` both run along rows of global memory.
//
// `x` is `[rows, cols]` and `y` is `[cols, rows]`, of any size. A thread block has TILE x TILE threads
// (32 x 32) and handles one tile of `x`: the one in tile column `blockIdx.x`, tile row `blockIdx.y`.
// Nothing outside `x` and `y` may be touched. The tile has PAD extra columns, 0 or 1; with 1 there
// must be no bank conflicts.
//
// With x = [[1, 2, 3], [4, 5, 6]], y is [[1, 4], [2, 5], [3, 6]].
// With 40 rows and 70 columns the grid is 3 x 2, and thread block (2, 1) does this:
//
// | | begins at | exists there |
// |---|---|---|
// | reads from `x` | row 32, column 64 | 8 rows, 6 columns |
// | writes to `y` | row 64, column 32 | 6 rows, 8 columns |
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    // exercise 9.3: write this function
}

// ==================== csrc/memory/reduce.cu ====================
//
// Sum of n floats. total: [1], set to 0 by the launcher.
//
// 1 reduce_1_atomics   every element is added to one place in memory by an atomic operation: they wait for each other
// 2 reduce_2_shared    each thread block adds up its elements in shared memory, half the threads in each round; one
//                      atomic per block
// 3 reduce_3_shuffle   each warp adds up in registers with shuffles; shared memory only carries one sum per warp
//
// Float addition is not associative: the three give sums that differ in the last digits.
//
// The engine's file has these, and you may use them:
//     constexpr int THREADS = 256;  // per thread block

// ---------- Exercise 9.4: Sum in shared memory (about 20 minutes) ----------
// Launched by `reduce_2_shared`: reduce_2_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n)
//
// Add up n floats. Each thread block adds the sum of its elements to `total[0]` with a single
// `atomicAdd`; before that, its threads gather the sum in shared memory.
//
// `x` is `[n]`, `total` is `[1]` and begins at 0. Every thread block has THREADS = 256 threads, and
// thread i of the grid has element i. A thread without an element adds nothing and reads nothing. The
// threads share the additions: none of them reads more than 64 numbers from shared memory.
//
// With x = [1, 2, 3, ...] and n = 300 the total is 45,150:
//
// | thread block | elements | threads without one | adds to `total[0]` |
// |---|---|---|---|
// | 0 | 1 to 256 | 0 | 32,896 |
// | 1 | 257 to 300 | 212 | 12,254 |
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    // exercise 9.4: write this function
}

// ==================== csrc/primitives/softmax_rows.cu ====================
//
// The softmax of each row of a matrix: y[r][i] = exp(x[r][i] - m) / (the sum of these over row r), where m is the
// largest number of row r. Without m, exp overflows from 89 on.
//
// x, y: [num_rows, size]
//
// A row is read once and written once. In between it lies in dynamic shared memory: up to 12,032 floats fit into the
// 48 KiB that a launch may ask for without more ado. For a longer row the launch fails, and its error is returned.

// ---------- Exercise 9.5: A blank page: the softmax of rows (about 45 minutes) ----------
//
// Write the softmax of the rows of a matrix, from a blank page: a kernel, which you write above the
// launcher, and the launcher itself. Grid, threads and shared memory are yours to choose; the kernel
// joins the queue `stream`.
//
// `x` and `y` are `[num_rows, size]` floats: y[r][i] = exp(x[r][i]) / (the sum of exp(x[r][j]) over j).
// exp of 89 does not fit into a float, so take the largest number of the row from each one first: the
// quotients stay the same. A number may be -inf, but not all of a row. size need not be a multiple of
// anything.
//
// - A number of `x` is read from global memory once, a number of `y` is written once. In between a row
//   lies in dynamic shared memory, the third number of the launch. Rows of 8,192 floats must work.
// - Rows have nothing to do with each other: several rows take several thread blocks.
// - The threads of a block share the work. Neighbouring threads touch neighbouring numbers.
// - The launcher returns 0 if all went well, and else the error code of the launch: for a row that is
//   too long for the shared memory, for example. No rows, or rows of no numbers, are no error.
//
// | a row of `x` | the same row of `y` |
// |---|---|
// | 0, 0 | 0.5, 0.5 |
// | 1000, 1000 + ln 3 | 0.25, 0.75 |
// | 5, -inf, 5 | 0.5, 0, 0.5 |
extern "C" int softmax_rows(const float* x, float* y, int num_rows, int size, cudaStream_t stream) {
    // exercise 9.5: write this function
    return {};
}
