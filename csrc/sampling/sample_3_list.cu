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
// reading more makes a histogram of the distances, and the list is of the bin with the limit (`search`).
//
// What makes the histogram cheap: each lane of a warp has a column of its own, `columns[bin][lane]`, and column l lies
// in bank l. So no two lanes ever wait for each other, however many logits are alike. Bins are narrow where the
// distance is small and wider further out (a float's exponent and first bits), so that they fit logits of any spread.
// The mass of a column is kept in 32 bits, relative to the weight at the bin's edge; that is exact to about 1e-6, and
// enough to find the bin.
//
// A bin that the list cannot hold, of thousands of equal logits or of a large vocabulary, is divided like the row
// before, into 512 ranges of orders, and again if need be: orders end with the id, so equal logits come apart, too.
// Whether the list has the limit is checked with the exact sums; if it has not, the next bin with tokens is listed. If
// that does not find it in MOST_READINGS, the limit is found by bisection, as in rung 1. So the answer is always that
// of the other rungs.
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
constexpr int LIST = 4000;       // tokens that fit into the list
constexpr int CANDIDATES = 512;  // tokens of one bin of the list, each compared with each

// Bins of distances. The first has those that are 0, the others are 64 to an octave of distance + 0.5: they reach up to
// a distance of about 127.
constexpr int BIN_SHIFT = 17;
constexpr int FIRST_BIN = 0x3f000000 >> BIN_SHIFT;  // the bits of 0.5f

__device__ __forceinline__ int bin_of(float distance) {
    const int bin = static_cast<int>(__float_as_uint(distance + 0.5f) >> BIN_SHIFT) - FIRST_BIN;
    return min(bin + (distance > 0.0f), BINS - 1);
}

// Where a bin begins: the smallest distance + 0.5 in it.
__device__ __forceinline__ float edge_of(int bin) {
    return __uint_as_float(static_cast<unsigned>(max(bin - 1, 0) + FIRST_BIN) << BIN_SHIFT);
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

// What up to LIST tokens weigh, as two numbers of 32 bits, to which the hardware adds by itself; to one of 64 bits it
// adds in a loop, in which threads that want the same one wait for each other.
struct Halves {
    unsigned low, high;  // a weight has at most 41 bits: 20, and 21

    __device__ void add(Mass mass) {
        atomicAdd(&low, static_cast<unsigned>(mass) & 0xfffffu);
        atomicAdd(&high, static_cast<unsigned>(mass >> 20));
    }
    __device__ Mass sum() const { return (static_cast<Mass>(high) << 20) + low; }
};

// What is looked for: the limit of `count` tokens, or, if that is 0, of a part top_p of what the tokens up to `cap`
// weigh together: `total`, or 0 if that is not known yet.
struct Wanted {
    Mass count;
    double top_p;
    Order cap;
    Mass total;

    __device__ Mass target(Mass all) const { return count ? count : share_of(total ? total : all, top_p); }
    __device__ Mass amount(Totals totals) const { return count ? totals.count : totals.mass; }
};

struct Shared {
    Scratch scratch;
    Mass of_warp[MOST_WARPS];  // what the tokens up to the limit weigh, by the span of each warp
    Halves listed_of_warp[MOST_WARPS];
    Halves sums[BINS];
    Mass amount[BINS];       // of each bin: how many tokens, or what they weigh
    unsigned numbers[BINS];  // of each bin of a division: what was added up, 0 if it has no tokens
    int bin;                 // that of the limit
    Mass better;             // the amounts of all better bins
    Mass all;                // and of all bins
    int listed, candidates;  // how many tokens were put there; more than there is room for if it is full
    Wanted wanted;
    Order limit;  // the answer
};

// A distance that at least `wanted` tokens do not exceed, wanted <= blockDim.x: about that of the wanted-th largest of
// the largest logits of each thread. By bisection; a step is one count over the block, so the last bits are left out.
template <typename T>
__device__ float distance_reached_by(const RowOf<T>& row, float largest, int wanted) {
    constexpr int LEFT_OUT = 12;
    const unsigned own = sortable(largest) >> LEFT_OUT;
    unsigned low = 0, high = 0xffffffffu >> LEFT_OUT;  // `wanted` threads reach low; fewer reach anything above high
    while (low < high) {
        const unsigned middle = low + (high - low) / 2 + 1;
        if (__syncthreads_count(own >= middle) >= wanted) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low <<= LEFT_OUT;
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

// ---- bins

// The tokens with orders from `low` up to `high`.
struct Range {
    Order low, high;
};

// How a row is divided into bins: by distance, as bin_of says; or some of it, from order `low` on, into bins of 2^shift
// orders.
struct Division {
    bool by_distance;
    Order low;
    int shift;
};

template <typename T>
__device__ Order start_of(const RowOf<T>& row, const Division& division, int bin) {
    if (!division.by_distance) {
        return division.low + (static_cast<Order>(bin) << division.shift);
    }
    return bin == 0 ? 0 : bin == 1 ? 1ull << row.id_bits : row.order(edge_of(bin) - 0.5f, 0);
}

template <typename T>
__device__ Range range_of(const RowOf<T>& row, const Division& division, int bin) {
    const bool is_last = division.by_distance && bin == BINS - 1;
    return {start_of(row, division, bin),
            is_last ? row.order(INFINITY, row.vocab_size - 1) : start_of(row, division, bin + 1) - 1};
}

// The first of the bins up to which they have `target` together (the last, if they have less): shared.bin, and
// shared.better and shared.all. Each lane of a warp adds up some neighbouring bins, and a scan says which lane has it.
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
        if (threadIdx.x == 31) {
            shared.all = up_to;
        }
    }
    __syncthreads();
}

// One reading: for_each(add) calls add(bin, number) for tokens, and shared.amount[bin] becomes amount_of(bin, sum) of
// the numbers of each bin.
template <typename F, typename G>
__device__ void fill_bins(F for_each, G amount_of, Work& work, Shared& shared) {
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < BINS * COLUMNS; i += blockDim.x) {
        work.columns[i / COLUMNS][i % COLUMNS] = 0;
    }
    __syncthreads();
    unsigned* const column = &work.columns[0][lane];
    for_each([&](int bin, unsigned number) { atomicAdd(column + bin * COLUMNS, number); });
    __syncthreads();
    for (int bin = threadIdx.x / 32; bin < BINS; bin += blockDim.x / 32) {
        const Mass sum = warp_total(static_cast<Mass>(work.columns[bin][lane]));
        if (lane == 0) {
            shared.amount[bin] = amount_of(bin, sum);
            shared.numbers[bin] = static_cast<unsigned>(min(sum, static_cast<Mass>(~0u)));
        }
    }
    __syncthreads();
}

// ---- the list

// How many tokens are better than those of a range, and what they weigh, exactly; and what all tokens weigh.
struct Sums {
    Totals better;
    Mass all;
};

// One reading: inside(order) for the tokens of a range. What each warp has of the better ones goes to shared.of_warp.
template <typename T, typename F>
__device__ Sums read_range(const RowOf<T>& row, Range range, F inside, Shared& shared) {
    const float from = row.distance_of(range.low), to = row.distance_of(range.high);
    Sums own = {{0, 0}, 0};
    row.for_each_and([&](int, float logit) {
        const float distance = row.distance(logit);
        const Mass mass = weight(distance);
        own.all += mass;
        own.better.count += distance < from;
        own.better.mass += distance < from ? mass : 0;
        return from <= distance && distance <= to;
    }, [&](int id) {
        const float distance = row.distance(row.logit(id));
        const Order order = row.order(distance, id);
        if (order < range.low) {  // as likely as the first of the range, with a lower id
            own.better.count += 1;
            own.better.mass += weight(distance);
        } else if (order <= range.high) {
            inside(order);
        }
    }, BACKWARDS);
    const Mass of_warp = warp_total(own.better.mass);
    if (threadIdx.x % 32 == 0) {
        shared.of_warp[threadIdx.x / 32] = of_warp;
    }
    return {block_total(own.better, shared.scratch), block_total({0, own.all}, shared.scratch).mass};
}

// The order up to which the tokens of the list have `target`, each adding 1 or its weight; shared.all becomes what all
// of it adds. Bins of equal width between the first and the last distance (or id, if there is one distance) leave a few
// candidates. False if those are more than there is room for, or if all of the list has less than `target`.
template <typename T>
__device__ bool limit_in_list(const RowOf<T>& row, Range range, bool by_mass, Mass target, Work& work, Shared& shared) {
    const float from = row.distance_of(range.low), to = row.distance_of(range.high);
    const auto place_of = [&](Order order) {
        return from < to ? row.distance_of(order) - from : static_cast<float>(order - range.low);
    };
    const float scale = BINS / (from < to ? to - from : static_cast<float>(range.high - range.low + 1));
    const auto bin_of = [&](Order order) { return static_cast<int>(fminf(place_of(order) * scale, BINS - 1.0f)); };
    const auto amount_of = [&](Order order) { return by_mass ? weight(row.distance_of(order)) : 1; };
    for (int i = threadIdx.x; i < BINS; i += blockDim.x) {
        shared.sums[i] = {0, 0};
    }
    if (threadIdx.x == 0) {
        shared.candidates = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
        shared.sums[bin_of(work.list[i])].add(amount_of(work.list[i]));
    }
    __syncthreads();
    for (int i = threadIdx.x; i < BINS; i += blockDim.x) {
        shared.amount[i] = shared.sums[i].sum();
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
    if (shared.candidates > CANDIDATES || shared.all < target) {
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
    return true;
}

enum class Outcome { FOUND, TOO_MANY, IS_BETTER, IS_WORSE };

// What the tokens of the list up to the limit weigh, which is added to shared.of_warp.
template <typename T>
__device__ Mass weigh_list(const RowOf<T>& row, Order limit, const Work& work, Shared& shared) {
    if (threadIdx.x < MOST_WARPS) {
        shared.listed_of_warp[threadIdx.x] = {0, 0};
    }
    __syncthreads();
    Mass own = 0;
    for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
        const Order order = work.list[i];
        if (order <= limit) {
            const Mass mass = weight(row.distance_of(order));
            const int id = static_cast<int>(order & ((1ull << row.id_bits) - 1));
            shared.listed_of_warp[id / row.span].add(mass);
            own += mass;
        }
    }
    return block_total({0, own}, shared.scratch).mass;
}

// One reading, and shared.limit from a list of the tokens of a range, if it is one of these. A wanted.count of a range
// from the first token on is followed by the top_p of these tokens, which is 1 then. Leaves in shared.of_warp what the
// tokens up to the limit weigh, in wanted.total the same together, and in wanted.cap the limit.
template <typename T>
__device__ __forceinline__ Outcome limit_of_range(const RowOf<T>& row, Range range, Work& work, Shared& shared) {
    Wanted wanted = shared.wanted;
    if (threadIdx.x < MOST_WARPS) {
        shared.of_warp[threadIdx.x] = 0;
    }
    if (threadIdx.x == 0) {
        shared.listed = 0;
    }
    __syncthreads();
    const auto put = [&](Order order) {
        const int at = atomicAdd(&shared.listed, 1);
        if (at < LIST) {
            work.list[at] = order;
        }
    };
    Sums sums = {{0, 0}, 0};
    if (wanted.count && range.low == 0) {  // nobody is better, and nobody's weight is needed
        const float to = row.distance_of(range.high);
        row.for_each_and([&](int, float logit) { return row.distance(logit) <= to; }, [&](int id) {
            put(row.order(row.distance(row.logit(id)), id));
        }, BACKWARDS);
        __syncthreads();
    } else {
        sums = read_range(row, range, put, shared);
    }
    if (shared.listed > LIST) {
        return Outcome::TOO_MANY;
    }
    const Mass target = wanted.target(sums.all), better = wanted.amount(sums.better);
    if (target <= better) {
        return Outcome::IS_BETTER;
    }
    if (!limit_in_list(row, range, !wanted.count, target - better, work, shared)) {
        return shared.all < target - better ? Outcome::IS_WORSE : Outcome::TOO_MANY;
    }
    Mass mass = weigh_list(row, shared.limit, work, shared);
    if (wanted.count && wanted.top_p < 1.0 && range.low == 0) {
        if (!limit_in_list(row, range, true, share_of(mass, wanted.top_p), work, shared)) {
            return Outcome::TOO_MANY;
        }
        mass = weigh_list(row, shared.limit, work, shared);
        wanted.top_p = 1.0;
    }
    if (threadIdx.x == 0) {
        shared.wanted = {wanted.count, wanted.top_p, shared.limit, sums.better.mass + mass};
    }
    if (threadIdx.x < MOST_WARPS) {
        shared.of_warp[threadIdx.x] += shared.listed_of_warp[threadIdx.x].sum();
    }
    __syncthreads();
    return Outcome::FOUND;
}

// ---- the search

// One reading: divides the row by distance, and shared.bin becomes the bin in which the limit should be. Of each token
// its weight relative to the weight at the bin's edge is added, in 32 bits. That is exact to about 1e-6, and need not
// be more: it says where to look.
template <typename T>
__device__ void find_bin_of_row(const RowOf<T>& row, const Division& division, Work& work, Shared& shared) {
    const bool by_count = shared.wanted.count > 0;
    const float unit = 2147483648.0f / (row.vocab_size / 32 + 1024);  // what a lane adds up must fit into 32 bits
    fill_bins([&](auto add) {
        row.for_each([&](int, float logit) {
            const float distance = row.near_distance(logit);
            const int bin = bin_of(distance);
            add(bin, by_count ? 1 : static_cast<unsigned>(__expf(edge_of(bin) - 0.5f - distance) * unit));
        }, BACKWARDS);
    }, [&](int bin, Mass sum) {
        const float factor = expf(0.5f - edge_of(bin)) * 1099511627776.0f / unit;  // 2^40
        const Mass amount = by_count ? sum : static_cast<Mass>(sum * factor);
        return start_of(row, division, bin) > shared.wanted.cap ? 0 : amount;
    }, work, shared);
    Mass own = 0;
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x) {
        own += shared.amount[bin];
    }
    const Mass all = block_total({0, own}, shared.scratch).mass;
    find_bin(by_count ? shared.wanted.count : share_of(all, shared.wanted.top_p), shared);
}

// One reading: the same for a range, whose tokens are counted: in a bin of it they weigh about the same.
template <typename T>
__device__ void find_bin_of_range(const RowOf<T>& row, Range range, const Division& division, Work& work,
                                  Shared& shared) {
    const bool by_count = shared.wanted.count > 0;
    Sums sums;
    fill_bins([&](auto add) {
        sums = read_range(row, range, [&](Order order) {
            add(static_cast<int>((order - division.low) >> division.shift), 1);
        }, shared);
    }, [&](int bin, Mass count) {
        const Range part = range_of(row, division, bin);
        const float middle = 0.5f * (row.distance_of(part.low) + row.distance_of(part.high));
        return by_count ? count : count * weight(middle);
    }, work, shared);
    const Mass target = shared.wanted.target(sums.all), better = shared.wanted.amount(sums.better);
    find_bin(target > better ? target - better : 1, shared);
}

// shared.limit, from the list of one bin; false if that was not found. A bin with more tokens than the list holds is
// divided again. A limit that is not where it should be is in the next bin that has tokens. A function of its own, as
// it is rarely needed.
template <typename T>
static __device__ __noinline__ bool search(const RowOf<T> row, Work& work, Shared& shared) {
    constexpr int MOST_READINGS = 12;
    Division division = {true, 0, 0};
    find_bin_of_row(row, division, work, shared);
    int bin = shared.bin;
    for (int i = 0; i < MOST_READINGS; ++i) {
        const Range range = range_of(row, division, bin);
        const bool is_counted = !division.by_distance || shared.wanted.count;
        Outcome outcome = Outcome::TOO_MANY;
        if (!is_counted || shared.numbers[bin] <= LIST) {
            outcome = limit_of_range(row, range, work, shared);
            __syncthreads();  // the list becomes a histogram
        }
        if (outcome == Outcome::FOUND) {
            return true;
        }
        if (outcome == Outcome::TOO_MANY) {
            division = {false, range.low, 0};
            while ((range.high - range.low) >> division.shift >= BINS) {
                ++division.shift;
            }
            find_bin_of_range(row, range, division, work, shared);
            bin = shared.bin;
            continue;
        }
        const int step = outcome == Outcome::IS_BETTER ? -1 : 1;
        do {
            bin += step;
        } while (0 <= bin && bin < BINS && shared.numbers[bin] == 0);
        if (bin < 0 || bin >= BINS) {
            return false;
        }
    }
    return false;
}

// shared.limit, that of top-k and top-p, and shared.of_warp, by a few readings of the row; false where those are not
// enough. A function that is called, so that rows without these filters need few registers.
template <typename T>
static __device__ __noinline__ bool quick_limit(const RowOf<T> row, float largest, int top_k, double top_p, Work& work,
                                                Shared& shared) {
    const bool by_count = 0 < top_k && top_k < row.vocab_size;
    if (threadIdx.x == 0) {
        shared.wanted = {by_count ? static_cast<Mass>(top_k) : 0, top_p, row.order(INFINITY, row.vocab_size - 1), 0};
    }
    if (!by_count || top_k <= blockDim.x) {
        const int nearly_all = blockDim.x - blockDim.x / 24;
        const float to = distance_reached_by(row, largest, by_count ? top_k : nearly_all);
        if (by_count || is_likely_to_do(row, largest, to, shared.scratch)) {
            const Range range = {0, row.order(to, (1 << row.id_bits) - 1)};
            if (limit_of_range(row, range, work, shared) == Outcome::FOUND) {
                return true;
            }
        }
    }
    __syncthreads();  // a list becomes a histogram
    if (!search(row, work, shared)) {
        return false;
    }
    if (by_count && shared.wanted.top_p < 1.0) {  // of the tokens up to the limit; its own may lie in any bin
        __syncthreads();
        if (threadIdx.x == 0) {
            shared.wanted.count = 0;
        }
        __syncthreads();
        return search(row, work, shared);
    }
    return true;
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
        weighed = quick_limit(row, largest, top_k, top_p, work, shared);
        limit = weighed ? shared.limit : limit_by_bisection(row, top_k, top_p, shared.scratch);
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
