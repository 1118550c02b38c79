// Exercises of lesson 11: Fused model operations.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("11.1").check()` in the notebook, or `yaie check 11.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash afbff38a0969aed8

// ==================== csrc/model_ops/rms_norm.cu ====================
//
// RMSNorm: divide each row by its root mean square, then multiply by a weight. With a residual, add that first.
//
// x, out: [num_rows, size]; weight: [size]; all of one dtype
// residual: like x, or null. It is changed: it holds x + residual afterwards, and the norm is that of the sum.
//
// 1 rms_norm_1_two_pass   one element at a time; a row is read once for the sum of its squares and once more to be
//                         divided. A residual is added by a kernel of its own before: x and the residual are read, and
//                         the sum is written, to be read twice by the norm.
// 2 rms_norm_2_one_pass   16 bytes at a time; a row stays in the registers of its thread block between the sum and the
//                         division, and the residual is added as x is read (fused). Everything is read once and
//                         written once: 4 rows moved with a residual instead of 6, 2 without instead of 3. (In rung 1 a
//                         row that still lies in the cache is not read from memory again.)
//
// Measured on an H100 with a residual, 8,192 x 4,096 in bf16 (yaie/bench/results): 166 us, 98 us (2.7 TB/s, nine tenths
// of what a copy reaches); torch, operation by operation, 595 us.
//
// The sum is in float. The quotient is rounded to the dtype before it is multiplied, as torch does it.
//
// The engine's file has these, and you may use them:
//     template <typename T, int N>
//     struct alignas(sizeof(T) * N) Pack {
//         T at[N];
//     };
//     // The sum over a thread block of up to 32 whole warps, in every thread. All threads must call it, and only once.
//     __device__ float block_sum(float value);
//     // Packs come by value: one access reads the whole pack, instead of one for each element.
//     template <typename T, int N> __device__ Pack<T, N> added(Pack<T, N> a, Pack<T, N> b);
//     template <typename T, int N> __device__ float sum_of_squares(Pack<T, N> pack);
//     template <typename T, int N> __device__ Pack<T, N> scaled(Pack<T, N> pack, float scale, Pack<T, N> weight);
//     constexpr int MOST_THREADS = 1024, MOST_PACKS = 4;  // in a thread block; of its row that a thread keeps

// ---------- Exercise 11.1: RMSNorm that reads its row once (about 25 minutes) ----------
// Launched by `rms_norm_2_one_pass`: rms_norm_2_kernel<T, sizeof(P) / sizeof(T)><<<num_rows, threads_for(packs,
//     MOST_THREADS), 0, stream>>>(static_cast<const P*>(x), static_cast<P*>(residual), static_cast<const P*>(weight),
//     static_cast<P*>(out), packs, eps)
//
// Norm the rows of a matrix: out = v * weight / sqrt(mean of v squared + eps), where v is x, or
// x + residual if there is a residual. Thread block r norms row r. Nothing is read or written twice.
//
// | argument | shape, in packs of N numbers |
// |---|---|
// | `x`, `out` | `[num_rows, packs]` |
// | `residual` | `[num_rows, packs]`, holds v afterwards; or null: nothing is added |
// | `weight` | `[packs]` |
//
// Thread t has the packs t, t + blockDim.x, t + 2 blockDim.x, ... of its row: at most MOST_PACKS = 4.
// Some threads have fewer, or none. The mean is over the packs * N numbers of the row.
//
// With x = [1, 7], residual = [2, -3], weight = [1, 1] and eps = 0, `residual` becomes [3, 4], the
// mean square is 12.5, and out = [0.849, 1.131].
//
// You may use `added(a, b)`, `sum_of_squares(pack)` and `scaled(pack, scale, weight)`, which work on
// packs, and `block_sum(value)`: the sum over the thread block, in every thread. All threads must call
// `block_sum`, once.
template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)  // at most 64 registers, or 1,024 threads could not be launched
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    // exercise 11.1: write this function
}

// ==================== csrc/model_ops/rope.cu ====================
//
// RoPE, in place: turn every pair of numbers of every head by the angle of its token's position.
//
// x: [num_tokens, num_heads, head_dim], where token t begins at t * token_stride (in elements): query and key heads
//     turn alike, so one launch takes both, and leaves alone the value heads that lie behind them
// cos, sin: [num_tokens, head_dim / 2], float: the angles are worked out once for a step and serve all layers
//
// Pair i of a head is (a, b) = (x[i], x[i + head_dim / 2]); it becomes (a cos - b sin, b cos + a sin).
//
// 1 rope_1_pairs   a thread turns one pair: 4 bytes (or 2) of each half in one access
// 2 rope_2_packs   a thread turns as many pairs as fit into 16 bytes.
//
// Measured on an H100, 8,192 tokens of 32 heads of 128 in bf16 (yaie/bench/results): 79 us, 51 us; torch, operation by
// operation, 702 us.
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

// ---------- Exercise 11.2: RoPE in place (about 20 minutes) ----------
// Launched by `launch_rope`: rope_kernel<T, N><<<num_tokens, threads_for(static_cast<int64_t>(num_heads) * packs,
//     THREADS), 0, stream>>>(static_cast<T*>(x), cos, sin, num_heads, packs, token_stride)
//
// Turn the heads of a token by the angles of its position, in place: RoPE. Thread block t turns token
// t, every one of its `num_heads` heads.
//
// A head has two halves of half = packs * N numbers. Number i of the first half and number i of the
// second are a pair (a, b). It becomes (a cos - b sin, b cos + a sin), with entry i of the token's
// `cos` and `sin`.
//
// | argument | meaning |
// |---|---|
// | `x` | head h of token t begins at `x[t * token_stride + h * 2 * half]` |
// | `cos`, `sin` | `[num_tokens, half]`, floats, the same for all heads of a token |
// | `packs` | packs of N numbers in half a head |
//
// What lies between the last head of a token and the next token stays as it is.
//
// One head [1, 2, 3, 4] with cos = [0, 1] and sin = [1, 0] has the pairs (1, 3) and (2, 4). The first
// turns by 90 degrees, the second by 0: the head becomes [-3, 2, 1, 4].
//
// You may use `*reinterpret_cast<Pack<T, N>*>(pointer)`, which reads or writes N neighbouring numbers
// at once, and `to_float(value)` and `from_float<T>(value)`.
template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    // exercise 11.2: write this function
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

// ---------- Exercise 11.3: The gate of the MLP (about 15 minutes) ----------
// Launched by `launch_silu_mul`: silu_mul_kernel<T, N><<<grid, threads, 0, stream>>>(input, static_cast<P*>(out),
//     packs)
//
// Open the gate of the MLP: out = silu(gate) * up, number by number, with
// silu(z) = z / (1 + exp(-z)).
//
// | argument | shape, in packs of N numbers |
// |---|---|
// | `gate_up` | `[num_rows, 2 * packs]`: the packs of the gate, then those of up |
// | `out` | `[num_rows, packs]` |
//
// `blockIdx.x` is the row, and `blockIdx.y` counts the thread blocks that share it. Together they have
// a thread for each pack of the row, and some too many, which must do nothing. Neighbouring threads
// move neighbouring packs. Compute in float, and round silu(gate) to T before the product.
//
// The row [1, 0, 2, 3] has the gate [1, 0] and up [2, 3]. It gives [1.462, 0].
//
// You may use `to_float(value)`, `from_float<T>(value)`, and `pack.at[e]`, number e of a pack.
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    // exercise 11.3: write this function
}
