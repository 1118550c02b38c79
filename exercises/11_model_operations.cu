// Exercises of lesson 11: Fused model operations.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("11.1").check()` in the notebook, or `yaie check 11.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. Helper functions and constants of your own may stand here.
// generated, text hash 03fd9454166eabd1

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
//                         division, and the residual is added on the way in (fused). Everything is read once and
//                         written once: 4 rows moved with a residual and not 6, 2 without and not 3. (In rung 1 a row
//                         that still lies in the cache is not read from memory again.)
//
// Measured on an H100 with a residual, 8,192 x 4,096 in bf16 (yaie/bench/results): 166 us, 98 us (2.7 TB/s, nine tenths of
// what a copy reaches); torch, operation by operation, 595 us.
//
// The sum is in float. The quotient is rounded to the dtype before it is multiplied, as torch does it.
//
// These stand in the engine's file, and you may use them:
//     template <typename T, int N>
//     struct alignas(sizeof(T) * N) Pack {
//         T at[N];
//     };
//     // The sum over a thread block of up to 32 whole warps, in every thread. All threads must call it, and only once.
//     __device__ float block_sum(float value);
//     // Packs come by value: one access reads the whole pack, and not one for each element.
//     template <typename T, int N> __device__ Pack<T, N> added(Pack<T, N> a, Pack<T, N> b);
//     template <typename T, int N> __device__ float sum_of_squares(Pack<T, N> pack);
//     template <typename T, int N> __device__ Pack<T, N> scaled(Pack<T, N> pack, float scale, Pack<T, N> weight);
//     constexpr int MOST_THREADS = 1024, MOST_PACKS = 4;  // in a thread block; of its row that a thread keeps

// ---------- Exercise 11.1: RMSNorm that reads its row once (about 25 minutes) ----------
// Launched by `rms_norm_2_one_pass`: rms_norm_2_kernel<T, sizeof(P) / sizeof(T)><<<num_rows, threads_for(packs,
//     MOST_THREADS), 0, stream>>>(static_cast<const P*>(x), static_cast<P*>(residual), static_cast<const P*>(weight),
//     static_cast<P*>(out), packs, eps)
//
// One thread block norms one row, in three steps: each thread reads its packs, adds the residual to them if there is
// one (and writes the sum back there), and keeps them in registers; the block adds up all squares; each thread scales
// what it has kept and writes it to `out`. With x = [1, 7], a residual of [0, 0], a weight of [1, 1] and eps 0 the mean
// square is 25, the scale 1/5, and out = [0.2, 1.4].
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
// x: [num_tokens, num_heads, head_dim], where token t begins at t * token_stride (in elements): query and key heads turn
//     alike, so one launch takes both, and leaves alone the value heads that lie behind them
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
// These stand in the engine's file, and you may use them:
//     __device__ __forceinline__ float to_float(float x);
//     __device__ __forceinline__ float to_float(__half x);
//     __device__ __forceinline__ float to_float(__nv_bfloat16 x);
//     template <typename T>
//     __device__ __forceinline__ T from_float(float x);
//     template <> __device__ __forceinline__ float from_float<float>(float x);
//     template <> __device__ __forceinline__ __half from_float<__half>(float x);
//     template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x);
//     template <typename T, int N>
//     struct alignas(sizeof(T) * N) Pack {
//         T at[N];
//     };

// ---------- Exercise 11.2: RoPE in place (about 20 minutes) ----------
// Launched by `launch_rope`: rope_kernel<T, N><<<num_tokens, threads_for(static_cast<int64_t>(num_heads) * packs,
//     THREADS), 0, stream>>>(static_cast<T*>(x), cos, sin, num_heads, packs, token_stride)
//
// Turn the query and key heads of one token by its angles, in place. A head has two halves; number i of the first half
// and number i of the second are a pair (a, b), which becomes (a cos - b sin, b cos + a sin). A thread turns a pack of
// N neighbouring pairs at once. With one head [1, 2, 3, 4], cos = [0, 1] and sin = [1, 0], the pairs are (1, 3) and (2,
// 4), and the head becomes [-3, 2, 1, 4].
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
// Measured on an H100, 8,192 x 14,336 in bf16 (yaie/bench/results): 404 us, 243 us; torch, operation by operation, 660 us.
//
// As two operations of a library, silu would write its result and the product would read it again: 5 rows moved of
// `size` each, and not 3. silu(gate) is rounded to the dtype before the product, as those two would do it.
//
// These stand in the engine's file, and you may use them:
//     __device__ __forceinline__ float to_float(float x);
//     __device__ __forceinline__ float to_float(__half x);
//     __device__ __forceinline__ float to_float(__nv_bfloat16 x);
//     template <typename T>
//     __device__ __forceinline__ T from_float(float x);
//     template <> __device__ __forceinline__ float from_float<float>(float x);
//     template <> __device__ __forceinline__ __half from_float<__half>(float x);
//     template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x);
//     template <typename T, int N>
//     struct alignas(sizeof(T) * N) Pack {
//         T at[N];
//     };

// ---------- Exercise 11.3: The gate of the MLP (about 15 minutes) ----------
// Launched by `launch_silu_mul`: silu_mul_kernel<T, N><<<grid, threads, 0, stream>>>(static_cast<const P*>(gate_up),
//     static_cast<P*>(out), packs)
//
// Each row of `gate_up` holds `packs` packs of the gate, then as many of up. Write silu(gate) * up, number by number,
// to the row of `out`, which has `packs` packs; silu(z) = z / (1 + exp(-z)). A thread makes one pack. With the row [1,
// 0, 2, 3] the gate is [1, 0], up is [2, 3], and the result is [1.462, 0].
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    // exercise 11.3: write this function
}
