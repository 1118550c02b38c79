// Exercises of lesson 16: Radix and sampling operations on the GPU.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("16.1").check()` in the notebook, or `yaie check 16.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash dd5aa2bf1c12404e

// ==================== csrc/radix_ops/match_prefixes.cu ====================
//
// For many rows of tokens at once: how far does a radix tree know them?
//
// The tree is flat, as yaie/kernels/radix_ops.py lays it out: the edge of node i is edges[starts[i]] up to
// edges[starts[i + 1] - 1], its children are the nodes children[i] up to children[i + 1] - 1, in the order of the first
// pages of their edges. Node 0 is the root.
//
// tokens: [num_rows, max_len], of which row r has lengths[r]
// positions: [3, num_rows]: the node in which the walk of a row ended, how many tokens of its edge matched, and
//     how many tokens matched in all. Only whole pages count.
//
// 1 match_prefixes_1_thread   a thread walks for a row. Neighbouring threads read far apart, 32 sectors for a
//                             request, and the warp is as slow as its longest match.
// 2 match_prefixes_2_warp     a warp walks for a row and compares 32 contiguous tokens at once.
//
// Measured on an H100 (yaie/bench/results), prompts of 1,663 tokens: 1 row in 149 us (rung 1) and 19 us (rung 2), 1,024
// rows in 795 us and 34 us. The CPU's own tree, asked one by one, takes 14 us and 17,000 us. One request at a time,
// there is nothing to be gained; and the tree must be flattened and copied first.
//
// The engine's file has these, and you may use them:
//     constexpr unsigned FULL_WARP = 0xffffffffu;

// ---------- Exercise 16.1: Compare tokens as a warp (about 20 minutes) ----------
//
// Return how many tokens `a` and `b` have in common from the start, at most `count`.
//
// All 32 lanes of a warp call the function with the same arguments, and every lane returns the same
// answer. Neighbouring lanes compare neighbouring tokens. Nothing from a[count] or b[count] on may be
// read.
//
// | `a` and `b` | `count` | answer |
// |---|---|---|
// | [5, 6, 7, 8] and [5, 6, 9, 8] | 4 | 2 |
// | 40 tokens, all equal | 40 | 40 |
// | 40 tokens, 35 and 38 differ | 40 | 35 |
//
// You may use `__ballot_sync(FULL_WARP, condition)`: in every lane a number whose bit l says what lane
// l answered; and `__ffs(bits)`: the place of the lowest set bit, counted from 1, or 0 if none is set.
// All 32 lanes must come to a vote.
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    // exercise 16.1: write this function
    return {};
}

// ==================== csrc/memory/gather_pages.cu ====================
//
// Collect the pages of one request into a contiguous run of tokens, in the order of their positions.
//
// cache: one layer of the pool, [num_blocks, block_size, token_bytes], any dtype
// block_table: the request's blocks, in order; entries beyond context_len are not read
// out: [context_len, token_bytes]
//
// The engine's file has these, and you may use them:
//     // Call `f` with a null pointer to the widest type of which `bytes` is a multiple: 16 bytes for every usual head_dim,
//     // down to single bytes for odd shapes.
//     template <typename F> static int dispatch_unit(int64_t bytes, F f);
//     // Threads for a thread block that moves so many units: whole warps, at most 256.
//     static int threads_for(int64_t units);

// ---------- Exercise 16.2: Collect the pages of a match, from a blank page (about 30 minutes) ----------
//
// Collect the first context_len tokens of a request from its pages into `out`, in the order of their
// positions. You write the whole of it: a kernel, above the launcher, and the launcher.
//
// | argument | shape | |
// |---|---|---|
// | `cache` | `[num_blocks, block_size, token_bytes]` | keys or values of one layer, of any type |
// | `block_table` | | the request's blocks, in order; entries beyond the context are not read |
// | `out` | `[context_len, token_bytes]` | |
//
// token_bytes may be any number. Where it is a multiple of 16, each thread copies 16 bytes at a time.
// Neighbouring threads copy neighbouring units, and tokens go to several thread blocks. `cache` may have
// more than 2^31 units; `cache` and `out` begin at multiples of 16 bytes. An empty context is no error.
// The launcher returns the error of its launch, or 0.
//
// You may use `dispatch_unit(bytes, f)`, which calls f with a null pointer to the widest type that fits,
// and `threads_for(units)`.
//
// With block_size 2, block_table = [3, 0] and context_len 3:
//
// | position | block of the pool | row in it | slot |
// |---|---|---|---|
// | 0 | 3 | 0 | 6 |
// | 1 | 3 | 1 | 7 |
// | 2 | 0 | 0 | 0 |
extern "C" int gather_pages(const void* cache, const int64_t* block_table, void* out, int context_len, int block_size,
                            int64_t token_bytes, cudaStream_t stream) {
    // exercise 16.2: write this function
    return {};
}

// ==================== csrc/sampling/sample_2_radix.cu ====================
//
// Rung 2 of sampling: top-k and top-p by radix select. One thread block for each row; arguments as for rung 1.
//
// Rung 1 asks one question for each reading of a row: more, or less? Here one reading counts 2,048 groups at once, in a
// histogram in shared memory, and settles 11 bits of the limit. Three readings settle the 31 bits of a distance, two
// more the ids where several tokens have that distance.
//
// Measured on an H100, 128 rows of 131,072: top-k 50 in 143 us, five times as fast as rung 1. But top-p 0.9 in 3,920
// us, five times as slow: adding 64-bit numbers in shared memory is a loop of compare-and-swap (ATOMS.CAST.SPIN in the
// machine code), and most logits fall into few groups, so that the lanes of a warp wait for each other in it.
//
// The engine's file has these, and you may use them:
//     struct Row {
//         const float* logits;
//         int vocab_size, id_bits, span;
//         float largest, temperature, inverse;
//
//         __device__ Row(const float* all, int vocab_size, int id_bits)
//             : logits(all + static_cast<int64_t>(blockIdx.x) * vocab_size), vocab_size(vocab_size), id_bits(id_bits) {
//             const int warps = blockDim.x / 32;
//             span = ((vocab_size + warps - 1) / warps + 3) / 4 * 4;  // whole packs
//         }
//
//         // (largest - logit) / temperature, rounded as the division rounds. That is slow, so for any usual temperature the
//         // quotient comes from a product with 1 / temperature, which is corrected by its remainder (Markstein's method).
//         __device__ float distance(float logit) const {
//             const float below = largest - logit;
//             if (temperature == 1.0f) {
//                 return below;
//             }
//             if (temperature < 1e-18f || temperature > 1e18f) {
//                 return below / temperature;
//             }
//             const float near = below * inverse;
//             return near < 1e18f ? fmaf(fmaf(-near, temperature, below), inverse, near) : below / temperature;
//         }
//
//         __device__ void set_temperature(float value) {
//             temperature = value;
//             inverse = 1.0f / value;
//         }
//
//         __device__ Order order(float distance, int id) const {
//             return static_cast<Order>(__float_as_uint(distance)) << id_bits | id;
//         }
//
//         __device__ float distance_of(Order order) const { return __uint_as_float(static_cast<unsigned>(order >> id_bits)); }
//
//         // Call f(id, logit) for the tokens of this thread's warp; its lanes share them. Three packs are in flight at
//         // once. Backwards, a part is gone over from its end.
//         template <typename F>
//         __device__ void for_each(F f, bool backwards = false) const {
//             constexpr int N = 4, AT_ONCE = 3;
//             const int lane = threadIdx.x % 32;
//             const int begin = min(static_cast<int>(threadIdx.x / 32) * span, vocab_size);
//             const int end = min(begin + span, vocab_size);
//             if (reinterpret_cast<uintptr_t>(logits) % 16 != 0) {
//                 for (int id = begin + lane; id < end; id += 32) {
//                     f(id, logits[id]);
//                 }
//                 return;
//             }
//             const int whole = begin + (end - begin) / N * N;
//             constexpr int STEP = AT_ONCE * 32 * N;
//             const int steps = (whole - begin + STEP - 1) / STEP;
//     #pragma unroll 1
//             for (int i = 0; i < steps; ++i) {
//                 const int first = begin + lane * N + (backwards ? steps - 1 - i : i) * STEP;
//                 Pack packs[AT_ONCE];
//     #pragma unroll
//                 for (int j = 0; j < AT_ONCE; ++j) {
//                     packs[j] = pack_at(first + j * 32 * N, whole);
//                 }
//     #pragma unroll
//                 for (int j = 0; j < AT_ONCE; ++j) {
//                     if (first + j * 32 * N < whole) {
//     #pragma unroll
//                         for (int e = 0; e < N; ++e) {
//                             f(first + j * 32 * N + e, packs[j].at[e]);
//                         }
//                     }
//                 }
//             }
//             if (whole + lane < end) {
//                 f(whole + lane, logits[whole + lane]);
//             }
//         }
//
//         __device__ Pack pack_at(int first, int whole) const {
//             return first < whole ? *reinterpret_cast<const Pack*>(logits + first) : Pack();
//         }
//     };
//     typedef unsigned long long Order;
//     struct Scratch {
//         Totals of_warp[MOST_WARPS];
//         unsigned long long numbers[MOST_WARPS];
//     };
//     constexpr int DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS;
//     struct Histogram {
//         unsigned count[DIGITS];
//         Mass mass[DIGITS];
//         int digit;
//         unsigned long long before;
//     };
//     // Count the tokens whose order begins with the digits `found`, by the digit that comes next: the one above `shift`.
//     __device__ void count_digits(const Row& row, bool by_mass, Order found, int shift, Histogram& histogram);
//     // The first digit up to which there are `target` tokens (or that much mass): histogram.digit, and histogram.before is
//     // what lies before it.
//     __device__ void find_digit(bool by_mass, unsigned long long target, Histogram& histogram, Scratch& scratch);

// ---------- Exercise 16.3: Top-k and top-p without a sort (about 25 minutes) ----------
//
// Return the limit of a row, without a sort: the smallest order up to which there are `target` tokens,
// or, if `by_mass`, that much mass. All threads of a block call it for one row, and all return it.
//
// An order has 31 + row.id_bits bits. Its digits have DIGIT_BITS = 11 bits each; the highest begins at
// bit (31 + row.id_bits - 1) / DIGIT_BITS * DIGIT_BITS, the lowest at bit 0. Where only one token
// begins with the digits found so far, any limit that keeps this token and not the next will do.
//
// You may use
//
// - `count_digits(row, by_mass, found, shift, histogram)`: reads the row once, and counts the tokens
//   that begin with the digits `found` by the digit that begins at bit `shift`; `histogram.count[d]`
//   is the number of tokens with digit d;
// - `find_digit(by_mass, target, histogram, scratch)`: sets `histogram.digit`, the first value of the
//   digit up to which there are `target` tokens (or that much mass), and `histogram.before`, how many
//   (or how much) lie before it.
//
// With decimal digits, the orders 12, 15, 31, 38, 39, 47 and target 4:
//
// | `found` | `target` | `digit` | `before` |
// |---|---|---|---|
// | 0 | 4 | 3 | 2 |
// | 3 | 2 | 8 | 1 |
// | 38 | | | the limit is 38 |
static __device__ Order radix_limit(const Row& row, bool by_mass, unsigned long long target, Histogram& histogram,
                                    Scratch& scratch) {
    // exercise 16.3: write this function
    return {};
}
