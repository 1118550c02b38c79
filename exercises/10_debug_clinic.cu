// Exercises of lesson 10: Debug clinic: the bug hunt.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("10.2").check()` in the notebook, or `yaie check 10.2` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash 7da5f8885a256460

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
//
// The engine's file has these, and you may use them:
//     // Threads for a thread block that moves so many units: whole warps, at most 256.
//     static int threads_for(int64_t units);
//     // Copy block_mapping's pair blockIdx.x in layer blockIdx.y, of keys (blockIdx.z 0) or values (1). A cache has
//     // units_per_block units of type `Unit` per block and num_blocks blocks per layer. Any number of threads.
//     template <typename Unit> __global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping, int64_t num_blocks, int64_t units_per_block);

// ---------- Exercise 10.2: Case 1: fix it (about 4 minutes) ----------
// There is a mistake in this function.
//
// Fix `launch_copy`: every pair of blocks must be copied in every layer, for keys and values, and
// nothing else may be touched.
//
// The kernel that it starts, `copy_blocks_kernel`, copies one block for each thread block. A thread
// block asks for its place in the grid: `.x` says which pair it copies, `.y` in which layer, and `.z`
// whether it copies keys (0) or values (1).
//
// | layers | as found |
// |---|---|
// | 1 | reads beyond the caches |
// | 2 | right |
// | 5 | layers 2, 3 and 4 are not copied |
template <typename Unit>
static int launch_copy(void* key_cache, void* value_cache, const int64_t* block_mapping, int num_pairs, int num_layers,
                       int64_t num_blocks, int64_t block_bytes, cudaStream_t stream) {
    if (num_pairs == 0) {
        return cudaSuccess;
    }
    const int64_t units = block_bytes / static_cast<int64_t>(sizeof(Unit));
    const dim3 grid(num_pairs, 2, num_layers);
    copy_blocks_kernel<Unit><<<grid, threads_for(units), 0, stream>>>(
        static_cast<Unit*>(key_cache), static_cast<Unit*>(value_cache), block_mapping, num_blocks, units);
    return cudaGetLastError();
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

// ---------- Exercise 10.10: Case 5: fix it (about 4 minutes) ----------
// There is a mistake in this function.
//
// Fix `grid_of`: the grid with which a matrix `x` of `[rows, cols]` is transposed, one thread block for
// each tile of TILE x TILE elements. Tiles at the edge need not be full.
//
// A kernel asks for `blockIdx.x` to know its tile column in `x`, and for `blockIdx.y` to know its tile
// row.
//
// | shape of `x` | right | as found |
// |---|---|---|
// | 64 x 64 | 2 x 2 | the same |
// | 40 x 70 | 3 x 2 | 2 x 3: the last tile column is missing |
// | 1 x 33 | 2 x 1 | 1 x 2 |
static dim3 grid_of(int rows, int cols) { return dim3((rows + TILE - 1) / TILE, (cols + TILE - 1) / TILE); }

// ==================== csrc/model_ops/embedding.cu ====================
//
// Fetch the row of the embedding table for every token of a batch.
//
// table: [vocab_size, row_bytes], any dtype; token_ids: [num_tokens]; out: [num_tokens, row_bytes]
// A token id outside the table gives a row of bits that are all 1, which is NaN in every float type: a wrong id is seen
// in the result, and nothing is read from where it points.
//
// The engine's file has these, and you may use them:
//     template <typename Unit> __device__ Unit all_ones();
//     template <> __device__ uint4 all_ones<uint4>();

// ---------- Exercise 10.12: Case 6: fix it (about 5 minutes) ----------
// There is a mistake in this function.
// Launched by `embedding`: embedding_kernel<Unit><<<num_tokens, threads_for(units), 0, stream>>>(static_cast<const
//     Unit*>(table), token_ids, static_cast<Unit*>(out), vocab_size, units)
//
// Fix `embedding_kernel`: a token id without a row in the table gives a row of bits that are all 1 (in
// floats: NaN), and nothing is read for it. All other ids give their rows, id 0 included.
//
// The table has the rows 10, 11, 12, 13:
//
// | token ids | right | as found |
// |---|---|---|
// | [3, 0] | 13, 10 | the same |
// | [9] | NaN | the same |
// | [-1] | NaN | reads before the table |
//
// Fetch the row of token blockIdx.x, units_per_row units of type `Unit`. Any number of threads.
template <typename Unit>
__global__ void embedding_kernel(const Unit* table, const int64_t* token_ids, Unit* out, int64_t vocab_size,
                                 int64_t units_per_row) {
    const int64_t token = blockIdx.x;
    const int64_t id = token_ids[token];
    const bool known = id < vocab_size;
    for (int64_t i = threadIdx.x; i < units_per_row; i += blockDim.x) {
        out[token * units_per_row + i] = known ? table[id * units_per_row + i] : all_ones<Unit>();
    }
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
//     // Add the sum of the THREADS elements of each thread block to total, with one atomicAdd per block: the sum is gathered
//     // in shared memory, in log2(THREADS) rounds. The last block may have fewer elements.
//     __global__ void reduce_2_kernel(const float* x, float* total, int64_t n);
//     static int64_t blocks_for(int64_t n);

// ---------- Exercise 10.18: Case 9: fix it (about 5 minutes) ----------
// There is a mistake in this function.
//
// Fix `reduce_2_shared`: it adds up `x[0]` to `x[n - 1]`, whatever `total` held before.
//
// `total` is a tensor of one float, in the memory of the GPU. The launcher runs on the processor: it
// cannot write `*total = 0` itself. Whatever it starts on the stream runs in the order in which it was
// started.
//
// | `total` before | numbers | `total` afterwards | as found |
// |---|---|---|---|
// | 0 | 1, 2, 3 | 6 | the same |
// | 6 | 1, 2, 3 | 6 | 12 |
//
// You may use `cudaMemsetAsync(pointer, byte, number of bytes, stream)`, which sets bytes of GPU memory.
extern "C" int reduce_2_shared(const float* x, float* total, int64_t n, cudaStream_t stream) {
    reduce_2_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n);
    return cudaGetLastError();
}

// ---------- Exercise 10.24: Case 12: fix it (about 5 minutes) ----------
// There is a mistake in this function.
// Launched by `reduce_1_atomics`: reduce_1_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n)
//
// Fix `reduce_1_kernel`: no two threads may race, and the sum must be right for any number of thread
// blocks. Each thread that has an element adds it to `total[0]`.
//
// | numbers 1, 2, ..., n | sum | as found |
// |---|---|---|
// | 1 | 1 | right |
// | 2 | 3 | a race |
// | 1000 | 500,500 | a race |
//
// Thread i adds x[i] to total.
__global__ void reduce_1_kernel(const float* x, float* total, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        *total += x[i];
    }
}
