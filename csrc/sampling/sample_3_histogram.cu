// Rung 3 of sampling: three readings of a row, whatever is asked. One thread block for each row; arguments as for rung 1.
//
//   1. the largest logit
//   2. a histogram of the distances: how many tokens lie in each bin, or what they weigh, or both. It says in which bin
//      the limit of top-k lies, and in which that of top-p.
//   3. exact sums of all that lies in better bins; the few thousand tokens of a limit's own bin go into a list in shared
//      memory, and rung 1's search finds the limit there.
//
// What makes the histogram cheap: each lane of a warp has a column of its own, `bins[bin][lane]`, and column l lies in
// bank l. So no two lanes ever wait for each other, however many logits are alike. Bins are narrow where the distance is
// small and wider further out (a float's exponent and first bits), so that they fit logits of any spread.
//
// A bin's mass is kept in 32 bits, relative to the weight at the bin's edge; that is exact to about 1e-6, and enough to
// find the bin. Whether it is the right one is checked with the exact sums; if it is not, or if a list is full, rung 2's
// radix select does the row. So the answer is always that of the other rungs.
// Not measured on a GPU yet.
#include "select.cuh"

constexpr int MOST_THREADS = 512;
constexpr int COLUMNS = 32;
constexpr int WORDS = 512 * COLUMNS;         // of shared memory for the histogram: 64 KB
constexpr int LIST = WORDS / 2;              // orders that fit there, once the histogram has been read
constexpr int MOST_BINS = WORDS / COLUMNS;   // with one filter; half as many with both

// Bins of distances. With 64 to an octave of distance + 0.5, 512 of them reach up to a distance of 127.5.
struct Bins {
    int shift, number;

    __device__ explicit Bins(bool two) : shift(two ? 18 : 17), number(two ? MOST_BINS / 2 : MOST_BINS) {}

    __device__ int first() const { return __float_as_uint(0.5f) >> shift; }

    __device__ int of(float distance) const {
        return min(static_cast<int>(__float_as_uint(distance + 0.5f) >> shift) - first(), number - 1);
    }

    __device__ float edge(int bin) const { return __uint_as_float(static_cast<unsigned>(bin + first()) << shift); }
};

// Warp 0 only: the first bin up to which `amount(bin)` adds up to `target` (or the last bin), and the sum before it.
template <typename F>
__device__ int find_bin(int bins, double target, F amount, double& before) {
    const int each = bins / 32;
    const int lane = threadIdx.x;
    double own = 0.0;
    for (int i = 0; i < each; ++i) {
        own += amount(lane * each + i);
    }
    double up_to = own;
    for (int distance = 1; distance < 32; distance *= 2) {
        const double other = __shfl_up_sync(FULL_WARP, up_to, distance);
        up_to += lane >= distance ? other : 0.0;
    }
    const unsigned reached = __ballot_sync(FULL_WARP, up_to >= target);
    const int owner = reached ? __ffs(reached) - 1 : 31;
    before = up_to - own;
    int bin = lane * each;
    while (bin < (lane + 1) * each - 1 && before + amount(bin) < target) {
        before += amount(bin++);
    }
    before = __shfl_sync(FULL_WARP, before, owner);
    return __shfl_sync(FULL_WARP, bin, owner);
}

struct Shared {
    Scratch scratch;
    Mass of_warp[MOST_WARPS];     // what lies in better bins than that of the limit, by the span of each warp
    unsigned count[MOST_BINS];    // of each bin
    double mass[MOST_BINS];
    int bin_k, bin_p;             // the bins of the limits of top-k and top-p
    unsigned long long before_k;  // tokens in better bins than bin_k
    int size_k, size_p;           // of the lists
};

// Reading 2, for the limits of top-k (if `by_count`) and top-p (if `by_mass`): fills shared.bin_k, bin_p and before_k.
template <typename T>
__device__ void find_bins(const Row<T>& row, const Bins& bins, bool by_count, bool by_mass, int top_k, double top_p,
                          unsigned* words, Shared& shared) {
    const int lane = threadIdx.x % 32;
    const int warps = blockDim.x / 32;
    unsigned* counts = words + lane;
    unsigned* masses = words + lane + (by_count ? bins.number * COLUMNS : 0);
    for (int i = threadIdx.x; i < (by_count + by_mass) * bins.number * COLUMNS; i += blockDim.x) {
        words[i] = 0;
    }
    __syncthreads();
    const float unit = 2147483648.0f / (row.vocab_size / 32 + 1024);  // what a lane adds up must fit into 32 bits
    row.for_each([&](int, float logit) {
        const float distance = row.distance(logit);
        const int bin = bins.of(distance);
        if (by_count) {
            atomicAdd(counts + bin * COLUMNS, 1u);
        }
        if (by_mass) {
            const float beyond = distance + 0.5f - bins.edge(bin);
            atomicAdd(masses + bin * COLUMNS, static_cast<unsigned>(__expf(-beyond) * unit));
        }
    });
    __syncthreads();
    for (int bin = threadIdx.x / 32; bin < bins.number; bin += warps) {
        if (by_count) {
            const unsigned count = __reduce_add_sync(FULL_WARP, counts[bin * COLUMNS]);
            if (lane == 0) {
                shared.count[bin] = count;
            }
        }
        if (by_mass) {
            const unsigned mass = masses[bin * COLUMNS];
            const double high = __reduce_add_sync(FULL_WARP, mass >> 16), low = __reduce_add_sync(FULL_WARP, mass & 0xffff);
            if (lane == 0) {
                shared.mass[bin] = (high * 65536.0 + low) * expf(0.5f - bins.edge(bin));
            }
        }
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        const auto count = [&](int bin) { return static_cast<double>(shared.count[bin]); };
        const auto mass = [&](int bin) { return shared.mass[bin]; };
        double before = 0.0;
        int bin_k = bins.number, bin_p = 0;
        if (by_count) {
            bin_k = find_bin(bins.number, top_k, count, before);
            if (lane == 0) {
                shared.before_k = static_cast<unsigned long long>(before);
            }
        }
        if (by_mass) {
            double total = 0.0;  // what top-k keeps, about
            for (int bin = lane; bin < bin_k; bin += 32) {
                total += shared.mass[bin];
            }
            for (int distance = 16; distance > 0; distance /= 2) {
                total += __shfl_xor_sync(FULL_WARP, total, distance);
            }
            if (by_count) {
                total += (top_k - before) / max(1u, shared.count[bin_k]) * shared.mass[bin_k];
            }
            bin_p = min(find_bin(bins.number, top_p * total, mass, before), bin_k);
        } else {
            bin_p = bin_k;
        }
        if (lane == 0) {
            shared.bin_k = bin_k;
            shared.bin_p = bin_p;
            shared.size_k = shared.size_p = 0;
        }
    }
    __syncthreads();
}

// A list of tokens in shared memory; its size goes on counting when it is full.
struct List {
    Order* orders;
    int* size;
    int most;

    __device__ void add(Order order) const {
        const int at = atomicAdd(size, 1);
        if (at < most) {
            orders[at] = order;
        }
    }
    __device__ bool full() const { return *size > most; }
};

template <typename T>
__device__ Totals totals_in(const Row<T>& row, const List& list, Order limit, Scratch& scratch) {
    Totals own = {0, 0};
    for (int i = threadIdx.x; i < *list.size; i += blockDim.x) {
        if (list.orders[i] <= limit) {
            own.count += 1;
            own.mass += weight(row.distance_of(list.orders[i]));
        }
    }
    return block_total(own, scratch);
}

// As smallest_limit, among the tokens of a list.
template <typename T>
__device__ Order limit_in(const Row<T>& row, const List& list, bool by_mass, unsigned long long target, Scratch& scratch) {
    Order largest = 0, largest_complement = 0;
    for (int i = threadIdx.x; i < *list.size; i += blockDim.x) {
        largest = max(largest, list.orders[i]);
        largest_complement = max(largest_complement, ~list.orders[i]);
    }
    largest = block_max(largest, scratch);
    const Order smallest = ~block_max(largest_complement, scratch);
    const auto totals = [&](Order limit) { return totals_in(row, list, limit, scratch); };
    return smallest_limit(totals, by_mass, target, smallest, largest, *list.size);
}

// Reading 3, and the exact limit from the lists. Leaves in shared.of_warp what the tokens up to the limit weigh. False
// where the bins or the lists do not do.
template <typename T>
__device__ bool limit_from_bins(const Row<T>& row, const Bins& bins, bool by_count, bool by_mass, int top_k,
                                double top_p, Order* orders, Shared& shared, Order& limit) {
    const int bin_k = shared.bin_k, bin_p = shared.bin_p;
    const int most = by_count && by_mass ? LIST / 2 : LIST;
    const List near_p = {orders, &shared.size_p, most};
    const List near_k = bin_k == bin_p ? near_p : List{orders + most, &shared.size_k, most};
    Mass better_than_p = 0, better_than_k = 0;  // of this thread
    row.for_each([&](int id, float logit) {
        const float distance = row.distance(logit);
        const int bin = bins.of(distance);
        if (bin < bin_k) {
            const Mass here = weight(distance);
            better_than_k += here;
            better_than_p += bin < bin_p ? here : 0;
        }
        if (bin == bin_p) {
            near_p.add(row.order(distance, id));
        } else if (bin == bin_k) {
            near_k.add(row.order(distance, id));
        }
    });
    const Mass of_warp = warp_total(better_than_p);
    if (threadIdx.x % 32 == 0) {
        shared.of_warp[threadIdx.x / 32] = of_warp;
    }
    __syncthreads();
    if (near_p.full() || near_k.full()) {
        return false;
    }
    limit = ALL_TOKENS;
    Mass kept = block_total({0, better_than_k}, shared.scratch).mass;
    if (by_count) {
        limit = limit_in(row, near_k, false, top_k - shared.before_k, shared.scratch);
        kept += totals_in(row, near_k, limit, shared.scratch).mass;
    }
    if (by_mass) {
        const Mass target = share_of(kept, top_p);
        const Mass better = block_total({0, better_than_p}, shared.scratch).mass;
        if (target <= better || target > better + totals_in(row, near_p, limit, shared.scratch).mass) {
            return false;
        }
        limit = limit_in(row, near_p, true, target - better, shared.scratch);
    }
    for (int i = threadIdx.x; i < shared.size_p; i += blockDim.x) {
        if (orders[i] <= limit) {
            const int id = static_cast<int>(orders[i] & (1ull << row.id_bits) - 1);
            atomicAdd(&shared.of_warp[id / row.span], weight(row.distance_of(orders[i])));
        }
    }
    __syncthreads();
    return true;
}

// The limit by radix select, where bins do not do.
template <typename T>
__device__ Order limit_from_digits(const Row<T>& row, bool by_count, bool by_mass, int top_k, double top_p,
                                   unsigned* words, Shared& shared) {
    Histogram& histogram = *reinterpret_cast<Histogram*>(words);
    __syncthreads();
    Order limit = ALL_TOKENS;
    if (by_count) {
        limit = radix_limit(row, false, top_k, histogram, shared.scratch);
    }
    if (by_mass) {
        const Mass kept = totals_up_to(row, limit, shared.scratch).mass;
        limit = radix_limit(row, true, share_of(kept, top_p), histogram, shared.scratch);
    }
    return limit;
}

template <typename T>
__global__ void __launch_bounds__(MOST_THREADS, 1)
sample_3_kernel(const T* logits, Parameters parameters, int64_t* tokens, int64_t* limits, int vocab_size, int id_bits) {
    extern __shared__ __align__(16) unsigned words[];
    __shared__ Shared shared;
    Row<T> row(logits, vocab_size, id_bits);
    row.temperature = parameters.temperature[blockIdx.x];
    const int best = find_largest(row, shared.scratch);
    if (best < 0 || row.temperature == 0.0f) {
        if (threadIdx.x == 0) {
            tokens[blockIdx.x] = best;
            if (limits) limits[blockIdx.x] = best;
        }
        return;
    }
    const int top_k = parameters.top_k[blockIdx.x];
    const double top_p = parameters.top_p[blockIdx.x];
    const bool by_count = 0 < top_k && top_k < vocab_size, by_mass = top_p < 1.0;
    const Order last = row.order(INFINITY, vocab_size - 1);
    Order limit = last;
    bool weighed = false;  // whether shared.of_warp is that of the limit
    if (by_count || by_mass) {
        const Bins bins(by_count && by_mass);
        find_bins(row, bins, by_count, by_mass, top_k, top_p, words, shared);
        weighed = limit_from_bins(row, bins, by_count, by_mass, top_k, top_p, reinterpret_cast<Order*>(words), shared, limit);
        if (!weighed) {
            limit = limit_from_digits(row, by_count, by_mass, top_k, top_p, words, shared);
        }
    }
    const Order likely_enough = row.order(parameters.max_distance[blockIdx.x], (1 << id_bits) - 1);  // min-p
    if (!weighed || likely_enough < limit) {
        limit = min(limit, likely_enough);
        __syncthreads();
        weigh_spans(row, limit, shared.of_warp);
    }
    draw(row, limit, uniform_of_row(parameters), shared.of_warp, tokens + blockIdx.x, shared.scratch);
    if (threadIdx.x == 0 && limits) limits[blockIdx.x] = static_cast<int64_t>(min(limit, last));
}

extern "C" int sample_3_histogram(const void* logits, const float* temperature, const int* top_k, const double* top_p,
                                  const float* max_distance, const double* uniforms, const int64_t* seeds,
                                  const int64_t* steps, int64_t* tokens, int64_t* limits, int num_rows, int vocab_size,
                                  int dtype, cudaStream_t stream) {
    if (num_rows == 0) {
        return cudaSuccess;
    }
    if (vocab_size < 1 || vocab_size > LARGEST_VOCABULARY) {
        return cudaErrorInvalidValue;
    }
    const Parameters parameters = {temperature, top_k, top_p, max_distance, uniforms, seeds, steps};
    const Shape shape = shape_for(vocab_size, MOST_THREADS);
    return dispatch_dtype(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        const int bytes = WORDS * sizeof(unsigned);
        const cudaError_t error =
            cudaFuncSetAttribute(sample_3_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        if (error != cudaSuccess) {
            return error;
        }
        sample_3_kernel<T><<<num_rows, shape.threads, bytes, stream>>>(static_cast<const T*>(logits), parameters, tokens,
                                                                       limits, vocab_size, shape.id_bits);
        return cudaGetLastError();
    });
}
