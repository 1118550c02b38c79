// Rung 3 of sampling: two readings of a row for what is usually asked, three else. One thread block for each row;
// arguments as for rung 1.
//
//   1. the largest logit; each thread also remembers the largest that it has seen itself
//   2. a list in shared memory of the most likely tokens, some thousand at most, and exact sums of all that is not in
//      it
//   3. the limit is looked for in the list: exact sums for bins of distances say in which bin it lies, and the few
//      tokens of that bin are compared with each other. No memory is read for that.
//
// Which tokens go into the list? Top-k: the k-th largest of the threads' largest logits is one that at least k tokens
// reach; so those that reach it, some more than k. Top-p alone does not know how many it wants. It takes those that
// reach what nearly all threads reach, some three tokens for each thread, and sees from the exact sums whether they
// were enough. Where logits are so much alike that this cannot be expected, and for a top-k above MOST_THREADS, a
// reading more makes a histogram of the distances, and the list is of the bin with the limit.
//
// What makes the histogram cheap: each lane of a warp has a column of its own, `columns[bin][lane]`, and column l lies
// in bank l. So no two lanes ever wait for each other, however many logits are alike. Bins are narrow where the
// distance is small and wider further out (a float's exponent and first bits), so that they fit logits of any spread.
// The mass of a column is kept in 32 bits, relative to the weight at the bin's edge; that is exact to about 1e-6, and
// enough to find the bin.
//
// Whether the list has the limit is checked with the exact sums; if it has not, or if the list is full (thousands of
// equal logits), the limit is found by bisection, as in rung 1. So the answer is always that of the other rungs.
//
// Each reading goes the other way than the first: it begins with what the L2 cache still has of it.
//
// Measured on an H100, 128 rows of 131,072 (yaie/bench/results), where one reading takes 22 us: greedy 30 us,
// temperature alone 59 us, top-k 50 in 58 us, with top-p 0.9 and a temperature 68 us, top-p alone 78 us. The aim was
// four readings, 88 us. It is missed where logits are much alike: top-p 0.9 at a temperature of 4 keeps some 80,000
// tokens and takes 138 us (in a run of its own).
#include "row.cuh"

constexpr int MOST_THREADS = 768;  // leaves 80 registers for a thread; with 1,024 and 64 some would be spilled
constexpr int COLUMNS = 32, BINS = 512;
constexpr int LIST = 4096;       // tokens that fit into the list
constexpr int CANDIDATES = 512;  // tokens of one bin of the list, each compared with each

// Bins of distances, 64 to an octave of distance + 0.5: they reach up to a distance of 127.5.
constexpr int BIN_SHIFT = 17;
constexpr int FIRST_BIN = 0x3f000000 >> BIN_SHIFT;  // the bits of 0.5f

__device__ __forceinline__ int bin_of(float distance) {
    return min(static_cast<int>(__float_as_uint(distance + 0.5f) >> BIN_SHIFT) - FIRST_BIN, BINS - 1);
}

// Where a bin begins: the smallest distance + 0.5 in it.
__device__ __forceinline__ float edge_of(int bin) {
    return __uint_as_float(static_cast<unsigned>(bin + FIRST_BIN) << BIN_SHIFT);
}

// A token that may be the limit, and what it adds to what is wanted: 1, or its weight.
struct Candidate {
    Order order;
    Mass amount;
};

// In dynamic shared memory: the list reuses the memory of the histogram.
union Work {
    unsigned columns[BINS][COLUMNS];
    struct {
        Order list[LIST];
        Candidate candidates[CANDIDATES];
    };
};

struct Shared {
    Scratch scratch;
    Mass of_warp[MOST_WARPS];  // what the tokens up to the limit weigh, by the span of each warp
    Mass amount[BINS];         // of each bin: how many tokens, or what they weigh
    int bin;                   // that of the limit
    Mass better;               // the amounts of all better bins
    int listed, candidates;    // how many tokens were put there; more than there is room for if it is full
    Order limit;
};

// A distance that at least `wanted` tokens do not exceed, wanted <= blockDim.x: that of the wanted-th largest of the
// largest logits of each thread. By bisection; a step is one count over the block.
template <typename T>
__device__ float distance_reached_by(const RowOf<T>& row, float largest, int wanted) {
    const unsigned own = sortable(largest);
    unsigned low = 0, high = 0xffffffffu;  // `wanted` threads reach low; fewer reach anything above high
    while (low < high) {
        const unsigned middle = low + (high - low) / 2 + 1;
        if (__syncthreads_count(own >= middle) >= wanted) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return row.distance(__uint_as_float(low & 0x80000000u ? low ^ 0x80000000u : ~low));
}

// Whether the tokens up to a distance that nearly all threads reach are likely to have most of the mass. A guess, that
// costs time where it is wrong: if all tokens weighed as much as one at that distance, would they outweigh by far what
// is known, the largest of each thread?
template <typename T>
__device__ bool is_likely_to_do(const RowOf<T>& row, float largest, float distance, Scratch& scratch) {
    const Mass known = block_total({0, weight(row.distance(largest))}, scratch).mass;
    return weight(distance) * row.vocab_size <= 8 * known;
}

// The first of the bins up to which they have `target` together (the last, if they have less): shared.bin and
// shared.better. Each lane of a warp adds up some neighbouring bins, and a scan says which lane has it.
__device__ void find_bin(Mass target, Shared& shared) {
    constexpr int EACH = BINS / 32;
    if (threadIdx.x < 32) {
        const Mass* bins = shared.amount + threadIdx.x * EACH;
        Mass own = 0;
        for (int i = 0; i < EACH; ++i) {
            own += bins[i];
        }
        Mass up_to = own;
        for (int distance = 1; distance < 32; distance *= 2) {
            const Mass other = __shfl_up_sync(FULL_WARP, up_to, distance);
            up_to += threadIdx.x >= distance ? other : 0;
        }
        const unsigned reached = __ballot_sync(FULL_WARP, up_to >= target);
        if (threadIdx.x == (reached ? __ffs(reached) - 1 : 31)) {
            Mass better = up_to - own;
            int i = 0;
            while (i < EACH - 1 && better + bins[i] < target) {
                better += bins[i++];
            }
            shared.bin = threadIdx.x * EACH + i;
            shared.better = better;
        }
    }
    __syncthreads();
}

// One reading: shared.bin becomes the first bin up to which there are top_k tokens, or by mass a part top_p of all. A
// function that is called, as it is rarely needed: written out, it would take registers from what always runs.
template <bool BY_MASS, typename T>
static __device__ __noinline__ void find_bin_of_row(const RowOf<T> row, int top_k, double top_p, Work& work,
                                                    Shared& shared) {
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < BINS * COLUMNS; i += blockDim.x) {
        work.columns[i / COLUMNS][i % COLUMNS] = 0;
    }
    __syncthreads();
    const float unit = 2147483648.0f / (row.vocab_size / 32 + 1024);  // what a lane adds up must fit into 32 bits
    row.for_each([&](int, float logit) {
        const float distance = row.distance(logit);
        const int bin = bin_of(distance);
        unsigned amount = 1;
        if (BY_MASS) {
            amount = static_cast<unsigned>(__expf(edge_of(bin) - 0.5f - distance) * unit);
        }
        atomicAdd(&work.columns[bin][lane], amount);
    }, BACKWARDS);
    __syncthreads();
    Mass own = 0;
    for (int bin = threadIdx.x / 32; bin < BINS; bin += blockDim.x / 32) {
        Mass amount = warp_total(static_cast<Mass>(work.columns[bin][lane]));
        if (BY_MASS) {
            amount = static_cast<Mass>(amount * (expf(0.5f - edge_of(bin)) * 1099511627776.0f / unit));  // 2^40
        }
        if (lane == 0) {
            shared.amount[bin] = amount;
            own += amount;
        }
    }
    const Mass all = block_total({0, own}, shared.scratch).mass;
    find_bin(BY_MASS ? share_of(all, top_p) : top_k, shared);
}

// The order up to which the tokens of the list have `target`, each adding 1 or its weight. They lie between two
// distances, both + 0.5. Bins of equal width, exact this time, leave a few candidates. False if those are more than
// there is room for.
template <typename T>
__device__ bool limit_in_list(const RowOf<T>& row, float from, float to, bool by_mass, Mass target, Work& work,
                              Shared& shared, Order& limit) {
    const float scale = BINS / (to - from);
    const auto bin_of = [&](Order order) {
        const float place = (row.distance_of(order) + 0.5f - from) * scale;
        return static_cast<int>(fminf(fmaxf(place, 0.0f), BINS - 1.0f));  // 0 for NaN, where from is to
    };
    const auto amount_of = [&](Order order) { return by_mass ? weight(row.distance_of(order)) : 1; };
    for (int i = threadIdx.x; i < BINS; i += blockDim.x) {
        shared.amount[i] = 0;
    }
    if (threadIdx.x == 0) {
        shared.candidates = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
        atomicAdd(&shared.amount[bin_of(work.list[i])], amount_of(work.list[i]));
    }
    __syncthreads();
    find_bin(target, shared);
    for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
        const Order order = work.list[i];
        if (bin_of(order) == shared.bin) {
            const int at = atomicAdd(&shared.candidates, 1);
            if (at < CANDIDATES) {
                work.candidates[at] = {order, amount_of(order)};
            }
        }
    }
    __syncthreads();
    if (shared.candidates > CANDIDATES) {
        return false;
    }
    for (int i = threadIdx.x; i < shared.candidates; i += blockDim.x) {
        const Candidate own = work.candidates[i];
        Mass before = shared.better;
        for (int j = 0; j < shared.candidates; ++j) {
            before += work.candidates[j].order < own.order ? work.candidates[j].amount : 0;
        }
        if (before < target && target <= before + own.amount) {
            shared.limit = own.order;
        }
    }
    __syncthreads();
    limit = shared.limit;
    return true;
}

// One reading, and the exact limit from a list. Tokens whose distance + 0.5 lies from `from` up to `to` go into the
// list; those before it are better. By count, `wanted` tokens are wanted of the list, and top_p of these; else top_p of
// all. Leaves in shared.of_warp what the tokens up to the limit weigh. False where the list does not do.
template <typename T>
__device__ bool limit_from_list(const RowOf<T>& row, float from, float to, bool by_count, int wanted, double top_p,
                                Work& work, Shared& shared, Order& limit) {
    if (threadIdx.x == 0) {
        shared.listed = 0;
    }
    __syncthreads();
    Mass better = 0, worse = 0;
    row.for_each([&](int id, float logit) {
        const float distance = row.distance(logit);
        const float place = distance + 0.5f;
        if (place > to) {
            worse += by_count ? 0 : weight(distance);
        } else if (place < from) {
            better += weight(distance);
        } else {
            const int at = atomicAdd(&shared.listed, 1);
            if (at < LIST) {
                work.list[at] = row.order(distance, id);
            }
        }
    }, BACKWARDS);
    const Mass of_warp = warp_total(better);
    if (threadIdx.x % 32 == 0) {
        shared.of_warp[threadIdx.x / 32] = of_warp;
    }
    __syncthreads();
    if (shared.listed > LIST) {
        return false;
    }
    limit = ALL_TOKENS;
    if (by_count && !limit_in_list(row, from, to, false, wanted, work, shared, limit)) {
        return false;
    }
    const auto weigh_list = [&](auto f) {
        for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
            if (work.list[i] <= limit) {
                f(work.list[i], weight(row.distance_of(work.list[i])));
            }
        }
    };
    if (top_p < 1.0) {
        Mass own = 0;
        weigh_list([&](Order, Mass mass) { own += mass; });
        better = block_total({0, better}, shared.scratch).mass;
        const Mass up_to = better + block_total({0, own}, shared.scratch).mass;
        const Mass target = share_of(up_to + block_total({0, worse}, shared.scratch).mass, top_p);
        if (target <= better || target > up_to ||
            !limit_in_list(row, from, to, true, target - better, work, shared, limit)) {
            return false;
        }
    }
    weigh_list([&](Order order, Mass mass) {
        const int id = static_cast<int>(order & ((1ull << row.id_bits) - 1));
        atomicAdd(&shared.of_warp[id / row.span], mass);
    });
    __syncthreads();
    return true;
}

// The limit of top-k and top-p, and shared.of_warp, by one or two readings of the row; false where that is not enough.
template <typename T>
__device__ bool quick_limit(const RowOf<T>& row, float largest, int top_k, double top_p, Work& work, Shared& shared,
                            Order& limit) {
    const bool by_count = 0 < top_k && top_k < row.vocab_size;
    float from = 0.0f, to = 0.0f;
    bool by_largest = !by_count || top_k <= blockDim.x;
    if (by_largest) {
        const int nearly_all = blockDim.x - blockDim.x / 24;
        to = distance_reached_by(row, largest, by_count ? top_k : nearly_all);
        by_largest = by_count || is_likely_to_do(row, largest, to, shared.scratch);
        to += 0.5f;
    }
    for (;; by_largest = false) {
        if (!by_largest) {
            bool list_all = false;
            if (by_count) {
                find_bin_of_row<false>(row, top_k, top_p, work, shared);
                list_all = shared.better + shared.amount[shared.bin] <= LIST;
                if (!list_all && top_p < 1.0) {
                    return false;  // the limit of top-p may lie in any bin
                }
                top_k -= list_all ? 0 : static_cast<int>(shared.better);
            } else {
                find_bin_of_row<true>(row, top_k, top_p, work, shared);
            }
            from = list_all ? 0.0f : edge_of(shared.bin);
            to = shared.bin < BINS - 1 ? nextafterf(edge_of(shared.bin + 1), 0.0f) : INFINITY;
        }
        const bool found = limit_from_list(row, from, to, by_count, top_k, top_p, work, shared, limit);
        if (found || !by_largest) {
            return found;
        }
        __syncthreads();  // the list becomes a histogram
    }
}

template <typename T>
__global__ void __launch_bounds__(MOST_THREADS, 1)
sample_3_kernel(const T* logits, Parameters parameters, int64_t* tokens, int64_t* limits, int vocab_size,
                int id_bits) {
    extern __shared__ __align__(16) char work_bytes[];
    Work& work = *reinterpret_cast<Work*>(work_bytes);
    __shared__ Shared shared;
    RowOf<T> row(logits, vocab_size, id_bits);
    float largest;
    if (!begin_row(row, parameters, largest, tokens, limits, shared.scratch)) {
        return;
    }
    const int top_k = parameters.top_k[blockIdx.x];
    const double top_p = parameters.top_p[blockIdx.x];
    Order limit = ALL_TOKENS;
    bool weighed = false;  // whether shared.of_warp is that of the limit
    if (0 < top_k && top_k < vocab_size || top_p < 1.0) {
        weighed = quick_limit(row, largest, top_k, top_p, work, shared, limit);
        if (!weighed) {
            limit = limit_by_bisection(row, top_k, top_p, shared.scratch);
        }
    }
    const Order likely_enough = limit_of_min_p(row, parameters);  // min-p
    if (!weighed || likely_enough < limit) {
        limit = min(limit, likely_enough);
        __syncthreads();
        weigh_spans(row, limit, shared.of_warp);
    }
    draw(row, limit, uniform_of_row(parameters), shared.of_warp, tokens + blockIdx.x, shared.scratch);
    if (threadIdx.x == 0 && limits) {
        limits[blockIdx.x] = static_cast<int64_t>(min(limit, row.order(INFINITY, vocab_size - 1)));
    }
}

template <typename T>
static int launch_sample_3(const T* logits, Parameters parameters, int64_t* tokens, int64_t* limits, int num_rows,
                           int vocab_size, cudaStream_t stream) {
    return with_shape(num_rows, vocab_size, MOST_THREADS, [&](Shape shape) {
        const int bytes = sizeof(Work);
        const cudaError_t error = allow_shared_memory(sample_3_kernel<T>, bytes);
        if (error != cudaSuccess) {
            return error;
        }
        sample_3_kernel<T><<<num_rows, shape.threads, bytes, stream>>>(logits, parameters, tokens, limits, vocab_size,
                                                                       shape.id_bits);
        return cudaGetLastError();
    });
}

extern "C" int sample_3_list(const float* logits, const float* temperature, const int* top_k, const double* top_p,
                             const float* max_distance, const double* uniforms, const int64_t* seeds,
                             const int64_t* steps, int64_t* tokens, int64_t* limits, int num_rows, int vocab_size,
                             cudaStream_t stream) {
    const Parameters parameters = {temperature, top_k, top_p, max_distance, uniforms, seeds, steps};
    return launch_sample_3(logits, parameters, tokens, limits, num_rows, vocab_size, stream);
}

// The same for logits of 16 bits, as a model gives them: half the bytes to read.
extern "C" int sample_3_list_16_bit(const void* logits, const float* temperature, const int* top_k, const double* top_p,
                                    const float* max_distance, const double* uniforms, const int64_t* seeds,
                                    const int64_t* steps, int64_t* tokens, int64_t* limits, int num_rows,
                                    int vocab_size, int dtype, cudaStream_t stream) {
    const Parameters parameters = {temperature, top_k, top_p, max_distance, uniforms, seeds, steps};
    return dispatch_16_bit(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return launch_sample_3(static_cast<const T*>(logits), parameters, tokens, limits, num_rows, vocab_size, stream);
    });
}
