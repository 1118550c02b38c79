// Exercises of lesson 10: Debug clinic: the bug hunt.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("10.2").check()` in the notebook, or `yaie check 10.2` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash 5b1c5ed2cd12add6

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

// ---------- Exercise 10.2: Case 1: fix it (about 5 minutes) ----------
// There is a mistake in this function.
// Launched by `launch_copy`: copy_blocks_kernel<Unit><<<grid, threads_for(units), 0,
//     stream>>>(static_cast<Unit*>(key_cache), static_cast<Unit*>(value_cache), block_mapping, num_blocks, units)
//
// Fix `copy_blocks_kernel`: every unit of a block must be copied, for every size of a block and every
// number of threads. Each unit is written by one thread only.
//
// | units per block | threads | wrong as found |
// |---|---|---|
// | 8 | 32 | nothing |
// | 256 | 256 | nothing |
// | 257 | 256 | the last unit keeps its old number |
// | 1000 | 256 | the last 744 units do |
//
// For shapes, see exercise 9.1.
//
// Copy block_mapping's pair blockIdx.x in layer blockIdx.y, of keys (blockIdx.z 0) or values (1). A cache has
// units_per_block units of type `Unit` per block and num_blocks blocks per layer. Any number of threads.
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    const int64_t source = block_mapping[2 * blockIdx.x];
    const int64_t target = block_mapping[2 * blockIdx.x + 1];
    Unit* cache = blockIdx.z == 0 ? key_cache : value_cache;
    Unit* layer = cache + blockIdx.y * num_blocks * units_per_block;
    const int64_t i = threadIdx.x;
    if (i < units_per_block) {
        layer[target * units_per_block + i] = layer[source * units_per_block + i];
    }
}

// ==================== csrc/model_ops/silu_mul.cu ====================
//
// The gate of the MLP: out = silu(gate) * up, with silu(z) = z / (1 + exp(-z)).
//
// gate_up: [num_rows, 2 * size], the gate in the first half of each row and up in the second; out: [num_rows, size]
//
// 1 silu_mul_1_elements   a thread makes one element of the result
// 2 silu_mul_2_packs      a thread makes 16 bytes of it.
//
// Measured on an H100, 8,192 x 14,336 in bf16 (yaie/bench/results): 404 us, 243 us; torch, operation by operation,
// 660 us.
//
// As two operations of a library, silu would write its result and the product would read it again: 5 rows moved of
// `size` each instead of 3. silu(gate) is rounded to the dtype before the product, as those two would do it.
//
// The engine's file has these, and you may use them:
//     template <typename T, int N>
//     struct alignas(sizeof(T) * N) Pack {
//         T at[N];
//     };
//     __device__ __forceinline__ float to_float(float x);
//     __device__ __forceinline__ float to_float(__half x);
//     __device__ __forceinline__ float to_float(__nv_bfloat16 x);
//     template <typename T>
//     __device__ __forceinline__ T from_float(float x);
//     template <> __device__ __forceinline__ float from_float<float>(float x);
//     template <> __device__ __forceinline__ __half from_float<__half>(float x);
//     template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x);

// ---------- Exercise 10.6: Case 3: fix it (about 5 minutes) ----------
// There is a mistake in this function.
// Launched by `launch_silu_mul`: silu_mul_kernel<T, N><<<grid, threads, 0, stream>>>(input, static_cast<P*>(out),
//     packs)
//
// Fix `silu_mul_kernel`: out = silu(gate) * up, where no finite gate may give infinity or NaN.
//
// | gate | up | right | as found |
// |---|---|---|---|
// | 1.0 | 1.0 | 0.731 | the same |
// | 100.0 | 1.0 | 100.0 | NaN |
// | -300.0 | 1.0 | 0 | 0 |
//
// Make pack blockIdx.y * blockDim.x + threadIdx.x of row blockIdx.x of the result, if the row has it: it has `packs` of
// them. Rounded to T twice: silu(gate), and the product.
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int64_t row = blockIdx.x;
    const int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= packs) {
        return;
    }
    const Pack<T, N> gate = gate_up[row * 2 * packs + i];
    const Pack<T, N> up = gate_up[row * 2 * packs + packs + i];
    Pack<T, N> result;
    for (int e = 0; e < N; ++e) {
        const float z = to_float(gate.at[e]);
        const T silu = from_float<T>(z * expf(z) / (1.0f + expf(z)));
        result.at[e] = from_float<T>(to_float(silu) * to_float(up.at[e]));
    }
    out[row * packs + i] = result;
}

// ==================== csrc/memory/gather_pages.cu ====================
//
// Collect the pages of one request into a contiguous run of tokens, in the order of their positions.
//
// cache: one layer of the pool, [num_blocks, block_size, token_bytes], any dtype
// block_table: the request's blocks, in order; entries beyond context_len are not read
// out: [context_len, token_bytes]

// ---------- Exercise 10.8: Case 4: fix it (about 5 minutes) ----------
// There is a mistake in this function.
// Launched by `gather_pages`: gather_pages_kernel<Unit><<<context_len, threads_for(units), 0,
//     stream>>>(static_cast<const Unit*>(cache), block_table, static_cast<Unit*>(out), block_size, units)
//
// Fix `gather_pages_kernel`: the token at each position comes from the block that the block table
// names for it, in any order of the blocks.
//
// With pages of 2 tokens, where block b holds 2 b and 2 b + 1:
//
// | block table | right | as found |
// |---|---|---|
// | [3] | 6, 7 | the same |
// | [2, 0] | 4, 5, 0, 1 | 4, 5, 6, 7 |
// | [5, 1, 7] | 10, 11, 2, 3, 14, 15 | 10 to 15 |
//
// Copy the token at position blockIdx.x of the request, units_per_token units of type `Unit`. Page number i of the
// request is block block_table[i] of the cache; pages have block_size tokens. Any number of threads.
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t position = blockIdx.x;
    const int64_t slot = (block_table[0] + position / block_size) * block_size + position % block_size;
    for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        out[position * units_per_token + i] = cache[slot * units_per_token + i];
    }
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

// ---------- Exercise 10.10: Case 5: fix it (about 6 minutes) ----------
// There is a mistake in this function.
// Launched by `transpose_2_tiled`: transpose_tile_kernel<0><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x,
//     y, rows, cols)
// Launched by `transpose_3_padded`: transpose_tile_kernel<1><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x,
//     y, rows, cols)
//
// Fix `transpose_tile_kernel` for every shape: `x` is `[rows, cols]`, `y` is `[cols, rows]`, and
// y[c][r] = x[r][c]. Nothing outside `y` may be written.
//
// | shape of `x` | as found |
// |---|---|
// | 2 x 2 | right |
// | 1 x 2 | reads a part of the tile that was never filled |
// | 2 x 1 | writes beyond `y` |
//
// Transpose a tile through shared memory, so that a warp reads neighbouring elements of x and writes neighbouring
// elements of y. Tiles at the edge of x are not full. PAD: columns that a row of the tile has besides, 0 (bank
// conflicts) or 1 (none).
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[TILE][TILE + PAD];
    const int col = blockIdx.x * TILE + threadIdx.x;
    const int row = blockIdx.y * TILE + threadIdx.y;
    if (row < rows && col < cols) {
        tile[threadIdx.y][threadIdx.x] = x[static_cast<int64_t>(row) * cols + col];
    }
    __syncthreads();
    const int out_col = blockIdx.y * TILE + threadIdx.x;  // the tile's place in y: rows and columns change places
    const int out_row = blockIdx.x * TILE + threadIdx.y;
    if (out_row < rows && out_col < cols) {
        y[static_cast<int64_t>(out_row) * rows + out_col] = tile[threadIdx.x][threadIdx.y];
    }
}

// ==================== csrc/memory/reshape_and_cache.cu ====================
//
// Write the keys and values of new tokens into the paged cache, each at the slot that slot_mapping names.
//
// key, value: [num_tokens, token_bytes] (all KV heads of a token, contiguous), any dtype
// key_cache, value_cache: one layer of the pool, [num_blocks * block_size, token_bytes]
// slot_mapping: [num_tokens]; slot = block * block_size + row. A negative slot is skipped: a batch that is padded for a
//     CUDA graph has tokens of no request.

// ---------- Exercise 10.12: Case 6: fix it (about 5 minutes) ----------
// There is a mistake in this function.
// Launched by `reshape_and_cache`: reshape_and_cache_kernel<Unit><<<num_tokens, threads_for(units), 0,
//     stream>>>(static_cast<const Unit*>(key), static_cast<const Unit*>(value), static_cast<Unit*>(key_cache),
//     static_cast<Unit*>(value_cache), slot_mapping, units)
//
// Fix `reshape_and_cache_kernel`: a token with a negative slot is stored nowhere. All others go to
// their slots, slot 0 included.
//
// Tokens 1, 2, ... go to an empty pool of 4 slots:
//
// | slots | pool afterwards | as found |
// |---|---|---|
// | [3, 0] | 2, 0, 0, 1 | right |
// | [-1] | 0, 0, 0, 0 | writes before the pool |
// | [1, -1, 0, -4] | 3, 1, 0, 0 | writes before the pool |
//
// Write the keys and values of token blockIdx.x, each units_per_token units of type `Unit`, to the token's slot; write
// nothing if that is negative. Any number of threads.
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t token = blockIdx.x;
    const int64_t slot = slot_mapping[token];
    for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        key_cache[slot * units_per_token + i] = key[token * units_per_token + i];
        value_cache[slot * units_per_token + i] = value[token * units_per_token + i];
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
//     // The sum over the 32 lanes of a warp, in lane 0. All lanes must call it.
//     __device__ float warp_sum(float value);

// ---------- Exercise 10.18: Case 9: fix it (about 5 minutes) ----------
// There is a mistake in this function.
// Launched by `reduce_2_shared`: reduce_2_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n)
//
// Fix `reduce_2_kernel`: a thread without a number must not read one, even if it does not use it, and
// adds 0 to the sum.
//
// | numbers 1, 2, ..., n | sum | as found |
// |---|---|---|
// | 256 | 32,896 | right |
// | 1 | 1 | right, and 255 threads read beyond the end |
// | 300 | 45,150 | right, and 212 threads do |
//
// Add the sum of the THREADS elements of each thread block to total, with one atomicAdd per block: the sum is gathered
// in shared memory, in log2(THREADS) rounds. The last block may have fewer elements.
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float partial[THREADS];
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const float mine = x[i];
    partial[threadIdx.x] = i < n ? mine : 0.0f;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            partial[threadIdx.x] += partial[threadIdx.x + half];
        }
        __syncthreads();  // outside the if: every thread of the block must come here
    }
    if (threadIdx.x == 0) {
        atomicAdd(total, partial[0]);
    }
}

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
//     // The sum (or maximum) over the 32 lanes of a warp, in every lane. All lanes must call it.
//     __device__ __forceinline__ float warp_sum(float value);
//     __device__ __forceinline__ float warp_max(float value);
//     struct Running {
//         float most, sum;
//     };

// ---------- Exercise 10.22: Case 11: fix it (about 8 minutes) ----------
// There is a mistake in this function.
//
// Fix `take_scores`: `rescale` must take sums that were made with the old maximum to the new one.
//
// The function takes the scores of one tile into the running maximum `row.most` of a row and its
// running sum `row.sum`, the sum of exp(score - row.most). Each lane has the score of one key, and
// gets the weight of this key back.
//
// | scores, values 0, 1, 2, ... | weighted mean | as found |
// |---|---|---|
// | 0, 1, 2 | 1.58 | the same |
// | 32 times 0, then 1 | 16.79 | 16.0 |
// | 1, then 64 times 0 | 31.18 | the same |
//
// Take the scores of one more tile into a row's running maximum and sum. All 32 lanes call it, each with the score of
// one key (-inf if the row may not see it), and all get the same `row`. Returns the weight of the lane's key;
// `rescale` is the factor for what was added up before.
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(row.most, warp_max(score));
    if (most == -INFINITY) {  // nothing to see so far: exp(-inf - -inf) would be NaN
        rescale = 1.0f;
        return 0.0f;
    }
    const float weight = expf(score - most);
    rescale = 1.0f;
    row.sum = row.sum * rescale + warp_sum(weight);
    row.most = most;
    return weight;
}

// ---------- Exercise 10.24: Case 12: fix it (about 6 minutes) ----------
// There is a mistake in this function.
// Launched by `reduce_3_shuffle`: reduce_3_kernel<<<blocks, THREADS, 0, stream>>>(x, total, n)
//
// Fix `reduce_3_kernel`: no two threads may race, and the sum must be right for any number of thread
// blocks. Each thread block adds its own sum to `total[0]`.
//
// | numbers 1, 2, ..., n | thread blocks | sum | as found |
// |---|---|---|---|
// | 256 | 1 | 32,896 | right |
// | 257 | 2 | 33,153 | a race |
// | 1000 | 4 | 500,500 | a race |
//
// Add the sum of x to total, with any number of thread blocks of THREADS threads and one atomicAdd in each.
__global__ void reduce_3_kernel(const float* x, float* total, int64_t n) {
    __shared__ float of_warp[THREADS / 32];
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    float sum = 0.0f;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        sum += x[i];
    }
    sum = warp_sum(sum);
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    if (lane == 0) {
        of_warp[warp] = sum;
    }
    __syncthreads();
    if (warp == 0) {
        sum = warp_sum(lane < THREADS / 32 ? of_warp[lane] : 0.0f);
        if (lane == 0) {
            *total += sum;
        }
    }
}
