// What all rungs of sampling do alike: how a row of logits is read, in which order its tokens stand, and how one of the
// tokens that are kept is drawn. One thread block works on one row.
//
// Order (31 bits of the distance, then `id_bits` bits of the id). The distance of a token is (largest logit - its
// logit) / temperature. It is 0 or more, and the bits of such a float, read as an integer, sort as the float does. With
// the token's id behind them they are a number for each token, its *order*: a smaller order is a more likely token, and
// of two equally likely ones the one with the lower id. No two tokens have the same. So "the k most likely tokens", and
// any other beginning of the sorted list, is
//
//     all tokens with order <= limit
//
// for some limit, and top-k and top-p need to find a limit instead of sorting.
//
// Weight. exp(-distance) as an integer, in units of 2^-40. Sums of integers do not depend on the order in which the
// threads add: every rung, and every run, gives the same set and the same token.
#pragma once
#include "../totals.cuh"

constexpr Order ALL_TOKENS = ~0ull;
constexpr bool BACKWARDS = true;
constexpr int LARGEST_VOCABULARY = 1 << 22;  // 2^22 weights of at most 2^40 add up to 2^62

// What the requests want, one entry for each row.
struct Parameters {
    const float* temperature;   // 0 takes the most likely token
    const int* top_k;           // below 1: all
    const double* top_p;        // 1: all
    const float* max_distance;  // min-p, as a distance: -log(min_p); infinity: all
    const double* uniforms;     // a number from [0, 1) for each row; null: from seeds and steps
    const int64_t* seeds;       // of the request
    const int64_t* steps;       // how many numbers the request has drawn before
};

// ---- reading a row

// One row of logits of type T, which are floats as soon as they are read: nothing is rounded. Each warp has a part of
// the row, `span` neighbouring tokens, and goes over them in the order of ids.
template <typename T>
struct RowOf {
    static constexpr int N = 16 / sizeof(T);
    struct alignas(16) Pack {
        T at[N];
    };

    const T* logits;
    int vocab_size, id_bits, span;
    float largest, temperature, inverse;

    __device__ RowOf(const T* all, int vocab_size, int id_bits)
        : logits(all + static_cast<int64_t>(blockIdx.x) * vocab_size), vocab_size(vocab_size), id_bits(id_bits) {
        const int warps = blockDim.x / 32;
        span = ((vocab_size + warps - 1) / warps + N - 1) / N * N;  // whole packs
    }

    __device__ float logit(int id) const { return to_float(logits[id]); }

    // (largest - logit) / temperature, rounded as the division rounds. That is slow, and it branches; so the quotient
    // comes from a product with 1 / temperature, which is corrected by its remainder (Markstein's method). Where that is
    // infinite, or nearly, the remainder makes no sense, and the product stays.
    __device__ float distance(float logit) const {
        const float below = largest - logit, near = below * inverse;
        const float quotient = fmaf(fmaf(-near, temperature, below), inverse, near);
        return quotient >= 0.0f ? quotient : near;
    }

    __device__ void set_temperature(float value) {
        temperature = value;
        inverse = 1.0f / value;
    }

    __device__ Order order(float distance, int id) const {
        return static_cast<Order>(__float_as_uint(distance)) << id_bits | id;
    }

    __device__ float distance_of(Order order) const { return __uint_as_float(static_cast<unsigned>(order >> id_bits)); }

    // Call f(id, logit) for the tokens of this thread's warp; its lanes share them. Three packs are in flight at
    // once. Backwards, a part is gone over from its end.
    template <typename F>
    __device__ void for_each(F f, bool backwards = false) const {
        constexpr int AT_ONCE = 3;
        const int lane = threadIdx.x % 32;
        const int begin = min(static_cast<int>(threadIdx.x / 32) * span, vocab_size);
        const int end = min(begin + span, vocab_size);
        if (reinterpret_cast<uintptr_t>(logits) % 16 != 0) {
            for (int id = begin + lane; id < end; id += 32) {
                f(id, logit(id));
            }
            return;
        }
        const int whole = begin + (end - begin) / N * N;
        constexpr int STEP = AT_ONCE * 32 * N;
        const int steps = (whole - begin + STEP - 1) / STEP;
#pragma unroll 1
        for (int i = 0; i < steps; ++i) {
            const int first = begin + lane * N + (backwards ? steps - 1 - i : i) * STEP;
            Pack packs[AT_ONCE];
#pragma unroll
            for (int j = 0; j < AT_ONCE; ++j) {
                uint4 bits = make_uint4(0, 0, 0, 0);
                if (first + j * 32 * N < whole) {
                    bits = *reinterpret_cast<const uint4*>(logits + first + j * 32 * N);
                }
                packs[j] = *reinterpret_cast<Pack*>(&bits);
            }
#pragma unroll
            for (int j = 0; j < AT_ONCE; ++j) {
                if (first + j * 32 * N < whole) {
#pragma unroll
                    for (int e = 0; e < N; ++e) {
                        f(first + j * 32 * N + e, to_float(packs[j].at[e]));
                    }
                }
            }
        }
        if (whole + lane < end) {
            f(whole + lane, logit(whole + lane));
        }
    }
};
using Row = RowOf<float>;  // vocab_size, id_bits, distance(logit), order(distance, id), for_each(f): see row.cuh

// exp(-distance) in units of 2^-40; what is smaller than a unit weighs nothing and is never drawn.
__device__ __forceinline__ Mass weight(float distance) {
    return static_cast<Mass>(__expf(-distance) * 1099511627776.0f);
}

// A number that sorts as the float does, whatever its sign: the larger float has the larger number.
__device__ __forceinline__ unsigned sortable(float x) {
    const unsigned bits = __float_as_uint(x + 0.0f);  // makes 0 of -0, which is equal to it
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The id of the largest logit (the lowest among equals), or -1 if the row has NaN, +infinity or nothing but -infinity.
// Sets row.largest, and `largest` to the largest logit that this thread has seen.
template <typename T>
__device__ int find_largest(RowOf<T>& row, float& largest, Scratch& scratch) {
    largest = -INFINITY;
    int id_of_largest = 0;
    bool usable = true;
    row.for_each([&](int id, float logit) {
        usable = usable && logit < INFINITY;  // false for NaN as well
        if (logit > largest) {
            largest = logit;
            id_of_largest = id;
        }
    });
    const unsigned long long best =
        block_max(static_cast<unsigned long long>(sortable(largest)) << 32 | (0xffffffffu - id_of_largest), scratch);
    const int id = static_cast<int>(0xffffffffu - static_cast<unsigned>(best));
    row.largest = __syncthreads_and(usable) ? row.logit(id) + 0.0f : INFINITY;
    return fabsf(row.largest) < INFINITY ? id : -1;
}

// How many tokens have order <= limit, and what they weigh together. A function that is called: it stands in a loop,
// and nvcc would otherwise write it out at every place.
template <typename T>
static __device__ __noinline__ Totals totals_up_to(const RowOf<T> row, Order limit, Scratch& scratch) {
    Totals own = {0, 0};
    row.for_each([&](int id, float logit) {
        const float distance = row.distance(logit);
        if (row.order(distance, id) <= limit) {
            own.count += 1;
            own.mass += weight(distance);
        }
    });
    return block_total(own, scratch);
}

// The mass that top-p must reach: the smallest integer that is at least top_p of `total`.
__device__ __forceinline__ Mass share_of(Mass total, double top_p) {
    const Mass share = static_cast<Mass>(ceil(top_p * static_cast<double>(total)));
    return min(max(share, 1ull), total);
}

// The limit of top-k and top-p together, each by bisection over the whole row.
template <typename T>
static __device__ Order limit_by_bisection(const RowOf<T>& row, int top_k, double top_p, Scratch& scratch) {
    const auto totals = [&](Order limit) { return totals_up_to(row, limit, scratch); };
    Order limit = row.order(INFINITY, row.vocab_size - 1);
    if (0 < top_k && top_k < row.vocab_size) {
        limit = smallest_limit(totals, false, top_k, 0, limit, row.vocab_size);
    }
    if (top_p < 1.0) {
        const Totals kept = totals(limit);
        limit = smallest_limit(totals, true, share_of(kept.mass, top_p), 0, limit, kept.count);
    }
    return limit;
}

// ---- drawing

// Number `step` of the sequence that belongs to `seed`, from [0, 1): Philox 4x32 with 10 rounds. It is worked out from
// seed and step alone, so a request draws the same numbers in any batch and after any pause.
// Source: Salmon and others, "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).
__device__ __forceinline__ double counter_uniform(int64_t seed, int64_t step) {
    unsigned c0 = static_cast<unsigned>(step), c1 = static_cast<unsigned>(step >> 32), c2 = 0, c3 = 0;
    unsigned k0 = static_cast<unsigned>(seed), k1 = static_cast<unsigned>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xd2511f53u, c0), low0 = 0xd2511f53u * c0;
        const unsigned high1 = __umulhi(0xcd9e8d57u, c2), low1 = 0xcd9e8d57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    const unsigned long long bits = static_cast<unsigned long long>(c1) << 32 | c0;
    return static_cast<double>(bits >> 11) * (1.0 / 9007199254740992.0);  // 53 bits
}

__device__ __forceinline__ double uniform_of_row(const Parameters& parameters) {
    const int row = blockIdx.x;
    return parameters.uniforms ? parameters.uniforms[row]
                               : counter_uniform(parameters.seeds[row], parameters.steps[row]);
}

// What the tokens of each warp's span that are kept weigh: of_warp[MOST_WARPS] in shared memory.
template <typename T>
__device__ void weigh_spans(const RowOf<T>& row, Order limit, Mass* of_warp) {
    Mass own = 0;
    const auto weigh = [&](auto is_kept) {
        row.for_each([&](int id, float logit) {
            const float distance = row.distance(logit);
            own += is_kept(id, distance) ? weight(distance) : 0;
        }, BACKWARDS);
    };
    if (limit >= row.order(INFINITY, row.vocab_size - 1)) {
        weigh([](int, float) { return true; });  // a loop of its own: nobody is compared
    } else {
        weigh([&](int id, float distance) { return row.order(distance, id) <= limit; });
    }
    own = warp_total(own);
    if (threadIdx.x % 32 == 0) {
        of_warp[threadIdx.x / 32] = own;
    }
    __syncthreads();
}

// Draw a token with order <= limit and write it: the first, in the order of ids, at which the running sum of weights
// exceeds uniform * total. `of_warp` is what weigh_spans gives; only one span is read again here.
template <typename T>
__device__ void draw(const RowOf<T>& row, Order limit, double uniform, const Mass* of_warp, int64_t* token,
                     Scratch& scratch) {
    const int warps = blockDim.x / 32;
    Mass total = 0;
    for (int warp = 0; warp < warps; ++warp) {
        total += of_warp[warp];
    }
    Mass target = min(static_cast<Mass>(uniform * static_cast<double>(total)), total - 1);
    int span = 0;
    while (of_warp[span] <= target) {
        target -= of_warp[span++];
    }
    // The threads share this span: each has some neighbouring tokens.
    const int end = min((span + 1) * row.span, row.vocab_size);
    const int each = (row.span + blockDim.x - 1) / blockDim.x;
    const int first = span * row.span + threadIdx.x * each;
    Mass own = 0;
    for (int id = first; id < min(first + each, end); ++id) {
        const float distance = row.distance(row.logit(id));
        own += row.order(distance, id) <= limit ? weight(distance) : 0;
    }
    Mass before = block_sum_before(own, scratch);
    if (before <= target && target < before + own) {
        int id = first;
        for (;; ++id) {
            const float distance = row.distance(row.logit(id));
            before += row.order(distance, id) <= limit ? weight(distance) : 0;
            if (before > target) {
                break;
            }
        }
        *token = id;
    }
}

// ---- the begin and the end of a kernel

// Begin with the row of this thread block. False where its token is settled and written: it is the most likely one, or
// the row is not usable (-1). `largest` is the largest logit that this thread has seen.
template <typename T>
__device__ __forceinline__ bool begin_row(RowOf<T>& row, const Parameters& parameters, float& largest, int64_t* tokens,
                                          int64_t* limits, Scratch& scratch) {
    row.set_temperature(parameters.temperature[blockIdx.x]);
    const int best = find_largest(row, largest, scratch);
    if (best < 0 || row.temperature == 0.0f) {
        if (threadIdx.x == 0) {
            tokens[blockIdx.x] = best;
            if (limits) limits[blockIdx.x] = best;
        }
        return false;
    }
    return true;
}

// The order of the least likely token that min-p keeps.
template <typename T>
__device__ __forceinline__ Order limit_of_min_p(const RowOf<T>& row, const Parameters& parameters) {
    return row.order(parameters.max_distance[blockIdx.x], (1 << row.id_bits) - 1);
}

// ---- launching

struct Shape {
    int threads, id_bits;
};

static Shape shape_for(int vocab_size, int most_threads) {
    Shape shape = {128, 1};
    while (shape.threads < most_threads && shape.threads * 32 < vocab_size) {
        shape.threads = min(2 * shape.threads, most_threads);
    }
    while (1 << shape.id_bits < vocab_size) {
        ++shape.id_bits;
    }
    return shape;
}

// Call `launch` with the shape for these rows, if there are any.
template <typename F>
static int with_shape(int num_rows, int vocab_size, int most_threads, F launch) {
    if (num_rows == 0) {
        return cudaSuccess;
    }
    if (vocab_size < 1 || vocab_size > LARGEST_VOCABULARY) {
        return cudaErrorInvalidValue;
    }
    return launch(shape_for(vocab_size, most_threads));
}
