// Rung 3 of sampling: three readings of a row, whatever is asked. One thread block for each row; arguments as for rung 1.
//
//   1. the largest logit
//   2. a histogram of the distances: how many tokens lie in each bin (top-k), or what they weigh (top-p alone). It says
//      in which bin the limit lies.
//   3. the tokens of that bin go into a list in shared memory, some thousand at most, and exact sums are taken of all
//      better bins. Rung 1's search finds the limit in the list.
//
// A top-k of up to MOST_THREADS does without 2: after 1 each thread knows the largest logit that it has seen, and the
// k-th largest of these is one that at least k tokens reach. These go into the list, some more than k, and top-p looks
// for its limit there, too.
//
// What makes the histogram cheap: each lane of a warp has a column of its own, `columns[bin][lane]`, and column l lies in
// bank l. So no two lanes ever wait for each other, however many logits are alike. Bins are narrow where the distance is
// small and wider further out (a float's exponent and first bits), so that they fit logits of any spread.
// Tokens that top-p cannot reach are left out of it: those with weights below (1 - top_p) * total / vocab_size add up to
// less than what top-p drops.
//
// The mass of a column is kept in 32 bits, relative to the weight at the bin's edge; that is exact to about 1e-6, and
// enough to find the bin. Whether it is the right one is checked with the exact sums; if it is not, or if the list is
// full (thousands of equal logits at the limit), the limit is found by halving, as in rung 1. So the answer is always
// that of the other rungs.
//
// Measured on an H100, 128 rows of 131,072 (yaie/bench/results), where one reading takes 22 us: greedy 29 us, temperature
// alone 68 us, top-k 50 in 75 us, with top-p 0.9 and a temperature 93 us, top-p alone 122 us. The aim was four readings,
// 88 us: reached for top-k, missed for top-p, whose readings compute too much between two loads (exponentials, and a
// conversion to 64 bits). Leaving out what top-p cannot reach did not pay: a version without it took 108 us. Since then
// reading 3 is written out once and not three times, and a row without filters compares no orders; not measured again yet.
#include "row.cuh"

constexpr int MOST_THREADS = 512;
constexpr int COLUMNS = 32, BINS = 512;
constexpr int LIST = BINS * COLUMNS / 2;  // orders that fit where the histogram was: 8,192 in 64 KB

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

struct Shared {
    Scratch scratch;
    Mass of_warp[MOST_WARPS];           // what the tokens up to the limit weigh, by the span of each warp
    double amount[BINS];                // of each bin: tokens, or mass
    int bin;                            // that of the limit
    unsigned long long better, within;  // tokens in better bins, and in this one, where tokens are counted
    int listed;                         // tokens that were put into the list; more than LIST if it is full
};

// A distance that at least top_k tokens do not exceed, top_k <= blockDim.x: that of the top_k-th largest of the largest
// logits of each thread. By halving; a step is one count over the block.
__device__ float distance_of_kth(const Row& row, float largest, int top_k) {
    const unsigned own = sortable(largest);
    unsigned low = 0, high = 0xffffffffu;  // top_k threads reach low; fewer reach anything above high
    while (low < high) {
        const unsigned middle = low + (high - low) / 2 + 1;
        if (__syncthreads_count(own >= middle) >= top_k) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return row.distance(__uint_as_float(low & 0x80000000u ? low ^ 0x80000000u : ~low));
}

// A distance beyond which tokens weigh less together than what top_p drops. The largest logits of the threads are some of
// the tokens, so all weigh at least as much as these.
__device__ float distance_of_reach(const Row& row, float largest, double top_p, Scratch& scratch) {
    const Mass least = block_total({0, weight(row.distance(largest))}, scratch).mass;
    const double smallest = (1.0 - top_p) * (least * 9.094947017729282e-13) / row.vocab_size;  // 2^-40
    return -logf(fmaxf(static_cast<float>(smallest), 1e-30f)) + 0.01f;
}

// Reading 2: shared.bin is the first bin up to which there are `top_k` tokens, or by mass a part of `top_p`; only tokens
// at distances up to `reach` are looked at. By mass, also returns what all tokens weigh.
template <bool BY_MASS>
__device__ Mass find_bin(const Row& row, int top_k, double top_p, float reach, unsigned* columns, Shared& shared) {
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < BINS * COLUMNS; i += blockDim.x) {
        columns[i] = 0;
    }
    __syncthreads();
    const float unit = 2147483648.0f / (row.vocab_size / 32 + 1024);  // what a lane adds up must fit into 32 bits
    Mass all = 0;
    row.for_each([&](int, float logit) {
        const float distance = row.distance(logit);
        if (BY_MASS) {
            all += weight(distance);
        }
        if (distance <= reach) {
            const int bin = bin_of(distance);
            unsigned amount = 1;
            if (BY_MASS) {
                amount = static_cast<unsigned>(__expf(edge_of(bin) - 0.5f - distance) * unit);
            }
            atomicAdd(&columns[bin * COLUMNS + lane], amount);
        }
    });
    all = block_total({0, all}, shared.scratch).mass;
    for (int bin = threadIdx.x / 32; bin < BINS; bin += blockDim.x / 32) {
        const unsigned own = columns[bin * COLUMNS + lane];
        const double high = __reduce_add_sync(FULL_WARP, own >> 16), low = __reduce_add_sync(FULL_WARP, own & 0xffffu);
        if (lane == 0) {
            const double sum = high * 65536.0 + low;
            shared.amount[bin] = BY_MASS ? sum * expf(0.5f - edge_of(bin)) / unit : sum;
        }
    }
    __syncthreads();
    if (threadIdx.x < 32) {  // each lane adds up some neighbouring bins, a scan says which lane has the limit
        constexpr int EACH = BINS / 32;
        double own = 0.0;
        for (int i = 0; i < EACH; ++i) {
            own += shared.amount[lane * EACH + i];
        }
        double up_to = own;
        for (int distance = 1; distance < 32; distance *= 2) {
            const double other = __shfl_up_sync(FULL_WARP, up_to, distance);
            up_to += lane >= distance ? other : 0.0;
        }
        const double target = BY_MASS ? top_p * (all * 9.094947017729282e-13) : top_k;  // 2^-40
        const unsigned reached = __ballot_sync(FULL_WARP, up_to >= target);
        if (lane == (reached ? __ffs(reached) - 1 : 31)) {
            double before = up_to - own;
            int bin = lane * EACH;
            while (bin < (lane + 1) * EACH - 1 && before + shared.amount[bin] < target) {
                before += shared.amount[bin++];
            }
            shared.bin = bin;
            shared.better = static_cast<unsigned long long>(before);
            shared.within = static_cast<unsigned long long>(shared.amount[bin]);
        }
    }
    __syncthreads();
    return all;
}

__device__ Totals totals_in(const Row& row, const Order* list, Order limit, Shared& shared) {
    Totals own = {0, 0};
    for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
        if (list[i] <= limit) {
            own.count += 1;
            own.mass += weight(row.distance_of(list[i]));
        }
    }
    return block_total(own, shared.scratch);
}

// As smallest_limit, among the tokens of the list.
__device__ Order limit_in(const Row& row, const Order* list, bool by_mass, unsigned long long target, Shared& shared) {
    Order largest = 0, largest_complement = 0;
    for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
        largest = max(largest, list[i]);
        largest_complement = max(largest_complement, ~list[i]);
    }
    largest = block_max(largest, shared.scratch);
    const Order smallest = ~block_max(largest_complement, shared.scratch);
    const auto totals = [&](Order limit) { return totals_in(row, list, limit, shared); };
    return smallest_limit(totals, by_mass, target, smallest, largest, shared.listed);
}

// Reading 3, and the exact limit from the list. Tokens whose distance + 0.5 lies from `from` up to `to` go into the list;
// those before it are better. By count, `top_k` tokens are wanted of the list, and top_p of these; else top_p of `all`.
// Leaves in shared.of_warp what the tokens up to the limit weigh. False where the list does not do.
__device__ bool limit_from_list(const Row& row, float from, float to, bool by_count, int top_k, double top_p,
                                Mass all, Order* list, Shared& shared, Order& limit) {
    if (threadIdx.x == 0) {
        shared.listed = 0;
    }
    __syncthreads();
    Mass better = 0;
    row.for_each([&](int id, float logit) {
        const float distance = row.distance(logit);
        const float place = distance + 0.5f;
        if (place <= to) {
            if (place >= from) {
                const int at = atomicAdd(&shared.listed, 1);
                if (at < LIST) {
                    list[at] = row.order(distance, id);
                }
            } else {
                better += weight(distance);
            }
        }
    });
    const Mass of_warp = warp_total(better);
    if (threadIdx.x % 32 == 0) {
        shared.of_warp[threadIdx.x / 32] = of_warp;
    }
    __syncthreads();
    if (shared.listed > LIST) {
        return false;
    }
    better = block_total({0, better}, shared.scratch).mass;
    limit = ALL_TOKENS;
    if (by_count) {
        limit = limit_in(row, list, false, top_k, shared);
        all = better + totals_in(row, list, limit, shared).mass;
    }
    if (top_p < 1.0) {
        const Mass target = share_of(all, top_p);
        if (target <= better || target > better + totals_in(row, list, limit, shared).mass) {
            return false;
        }
        limit = limit_in(row, list, true, target - better, shared);
    }
    for (int i = threadIdx.x; i < shared.listed; i += blockDim.x) {
        if (list[i] <= limit) {
            const int id = static_cast<int>(list[i] & ((1ull << row.id_bits) - 1));
            atomicAdd(&shared.of_warp[id / row.span], weight(row.distance_of(list[i])));
        }
    }
    __syncthreads();
    return true;
}

// The limit of top-k and top-p where the quick ways do, with shared.of_warp; else false.
__device__ bool quick_limit(const Row& row, float largest, int top_k, double top_p, unsigned* columns, Shared& shared,
                            Order& limit) {
    const bool by_count = 0 < top_k && top_k < row.vocab_size;
    const bool by_largest = by_count && top_k <= blockDim.x;  // the threads' largest logits may do; else bins
    for (int attempt = by_largest ? 0 : 1; attempt < 2; ++attempt) {
        float from = 0.0f, to = INFINITY;
        Mass all = 0;
        int wanted = top_k;
        if (attempt == 0) {
            to = distance_of_kth(row, largest, top_k) + 0.5f;
        } else {
            bool list_all = false;
            if (by_count) {
                find_bin<false>(row, top_k, top_p, INFINITY, columns, shared);
                list_all = shared.better + shared.within <= LIST;
                if (!list_all && top_p < 1.0) {
                    return false;  // the limit of top-p may lie in any bin
                }
                wanted -= list_all ? 0 : static_cast<int>(shared.better);
            } else {
                const float reach = distance_of_reach(row, largest, top_p, shared.scratch);
                all = find_bin<true>(row, top_k, top_p, reach, columns, shared);
            }
            from = list_all ? 0.0f : edge_of(shared.bin);
            to = shared.bin < BINS - 1 ? nextafterf(edge_of(shared.bin + 1), 0.0f) : INFINITY;
        }
        Order* list = reinterpret_cast<Order*>(columns);
        if (limit_from_list(row, from, to, by_count, wanted, top_p, all, list, shared, limit)) {
            return true;
        }
        __syncthreads();  // the list becomes a histogram again
    }
    return false;
}

__global__ void __launch_bounds__(MOST_THREADS, 1)
sample_3_kernel(const float* logits, Parameters parameters, int64_t* tokens, int64_t* limits, int vocab_size, int id_bits) {
    extern __shared__ __align__(16) unsigned columns[];
    __shared__ Shared shared;
    Row row(logits, vocab_size, id_bits);
    row.set_temperature(parameters.temperature[blockIdx.x]);
    float largest;
    const int best = find_largest(row, largest, shared.scratch);
    if (best < 0 || row.temperature == 0.0f) {
        if (threadIdx.x == 0) {
            tokens[blockIdx.x] = best;
            if (limits) limits[blockIdx.x] = best;
        }
        return;
    }
    const int top_k = parameters.top_k[blockIdx.x];
    const double top_p = parameters.top_p[blockIdx.x];
    const Order last = row.order(INFINITY, vocab_size - 1);
    Order limit = last;
    bool weighed = false;  // whether shared.of_warp is that of the limit
    if (0 < top_k && top_k < vocab_size || top_p < 1.0) {
        weighed = quick_limit(row, largest, top_k, top_p, columns, shared, limit);
        if (!weighed) {
            limit = limit_by_halving(row, top_k, top_p, shared.scratch);
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

extern "C" int sample_3_histogram(const float* logits, const float* temperature, const int* top_k, const double* top_p,
                                  const float* max_distance, const double* uniforms, const int64_t* seeds,
                                  const int64_t* steps, int64_t* tokens, int64_t* limits, int num_rows, int vocab_size,
                                  cudaStream_t stream) {
    if (num_rows == 0) {
        return cudaSuccess;
    }
    if (vocab_size < 1 || vocab_size > LARGEST_VOCABULARY) {
        return cudaErrorInvalidValue;
    }
    const Parameters parameters = {temperature, top_k, top_p, max_distance, uniforms, seeds, steps};
    const Shape shape = shape_for(vocab_size, MOST_THREADS);
    const int bytes = BINS * COLUMNS * sizeof(unsigned);
    const cudaError_t error = cudaFuncSetAttribute(sample_3_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) {
        return error;
    }
    sample_3_kernel<<<num_rows, shape.threads, bytes, stream>>>(logits, parameters, tokens, limits, vocab_size,
                                                                shape.id_bits);
    return cudaGetLastError();
}
