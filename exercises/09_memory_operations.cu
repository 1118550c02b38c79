// Exercises of lesson 09: Memory operations.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("9.1").check()` in the notebook, or `yaie check 9.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. Helper functions and constants of your own may stand here.
// generated, text hash 64d6b82d8a2d0545

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
// Launched by `launch_copy`: copy_blocks_kernel<Unit><<<grid, threads, 0, stream>>>(static_cast<Unit*>(key_cache),
//     static_cast<Unit*>(value_cache), block_mapping, num_blocks, units)
//
// Copy blocks inside the KV cache, in all layers, keys and values. Thread block (x, y, z) copies pair number x of
// `block_mapping` in layer y; z = 0 is the key cache, z = 1 the value cache. Its threads share the `units_per_block`
// units of the block. With block_mapping = [[0, 2]] and 2 layers, block 0 of each layer goes to block 2 of the same
// layer.
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
//     CUDA graph has tokens that belong to nobody.

// ---------- Exercise 9.2: Write new tokens into their slots (about 15 minutes) ----------
// Launched by `launch_write`: reshape_and_cache_kernel<Unit><<<num_tokens, threads, 0, stream>>>(static_cast<const
//     Unit*>(key), static_cast<const Unit*>(value), static_cast<Unit*>(key_cache), static_cast<Unit*>(value_cache),
//     slot_mapping, units)
//
// Each step of the engine computes keys and values of new tokens and puts them into the cache. Thread block b copies
// row b of `key` to row `slot_mapping[b]` of `key_cache`, and the same for `value`; its threads share the
// `units_per_token` units of a row. A negative slot is skipped. With slot_mapping = [5, -1, 0], token 0 goes to slot 5,
// token 2 to slot 0, and token 1 nowhere.
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
// These stand in the engine's file, and you may use them:
//     constexpr int TILE = 32;  // a thread block has TILE x TILE threads

// ---------- Exercise 9.3: Transpose through shared memory (about 25 minutes) ----------
// Launched by `transpose_2_tiled`: transpose_tile_kernel<0><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x, y,
//     rows, cols)
// Launched by `transpose_3_padded`: transpose_tile_kernel<1><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x,
//     y, rows, cols)
//
// Write y[c][r] = x[r][c] so that reads and writes both run along rows. A thread block of 32 x 32 threads reads one
// tile of x into shared memory, waits, and writes it to its place in y. PAD more columns in the tile keep its columns
// out of one bank. With x of 2 rows and 3 columns, y has 3 rows and 2 columns, and y[2][0] = x[0][2].
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
// These stand in the engine's file, and you may use them:
//     constexpr int THREADS = 256;  // per thread block

// ---------- Exercise 9.4: Sum in shared memory (about 20 minutes) ----------
// Launched by `reduce_2_shared`: reduce_2_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n)
//
// Add up n floats. Each thread block puts its 256 elements into shared memory (0 where there is none) and adds them up
// in rounds: in each round the first half of what is left adds the second half to itself, 256 to 128 to 64 and so on,
// until one sum is left, which one thread adds to `total[0]` with `atomicAdd`. With n = 300 there are two blocks, and
// two calls of `atomicAdd`.
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    // exercise 9.4: write this function
}
