// Rung 2 of sampling: top-k and top-p by radix select. One thread block for each row; arguments as for rung 1.
//
// Rung 1 asks one question for each reading of a row: more, or less? Here one reading counts 2,048 groups at once, in a
// histogram in shared memory, and settles 11 bits of the limit, which has 31 bits of a distance and those of an id:
// 48 for 131,072 tokens, five readings at most.
//
// Measured on an H100, 128 rows of 131,072: top-k 50 in 143 us, five times as fast as rung 1. But top-p 0.9 in 3,920
// us, five times as slow: adding 64-bit numbers in shared memory is a loop of compare-and-swap (ATOMS.CAST.SPIN in the
// machine code), and most logits fall into few groups, so that the lanes of a warp wait for each other in it.
#include "row.cuh"

constexpr int MOST_THREADS = 512;  // each may then have 128 registers

constexpr int DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS;

// In shared memory: for each value of a digit, how many tokens have it and what they weigh.
struct Histogram {
    unsigned count[DIGITS];
    Mass mass[DIGITS];
    int digit;
    unsigned long long before;
};

// Count the tokens whose order begins with the digits `found`, by the digit that comes next: the one above `shift`.
__device__ void count_digits(const Row& row, bool by_mass, Order found, int shift, Histogram& histogram) {
    __syncthreads();
    for (int i = threadIdx.x; i < DIGITS; i += blockDim.x) {
        histogram.count[i] = 0;
        histogram.mass[i] = 0;
    }
    __syncthreads();
    row.for_each([&](int id, float logit) {
        const float distance = row.distance(logit);
        const Order order = row.order(distance, id);
        if (order >> shift >> DIGIT_BITS == found) {
            const int digit = order >> shift & (DIGITS - 1);
            atomicAdd(&histogram.count[digit], 1u);
            if (by_mass) {
                atomicAdd(&histogram.mass[digit], weight(distance));
            }
        }
    });
    __syncthreads();
}

// The first digit up to which there are `target` tokens (or that much mass): histogram.digit, and histogram.before is
// what lies before it.
__device__ void find_digit(bool by_mass, unsigned long long target, Histogram& histogram, Scratch& scratch) {
    const auto amount = [&](int digit) { return by_mass ? histogram.mass[digit] : histogram.count[digit]; };
    const int each = DIGITS / blockDim.x;
    const int first = threadIdx.x * each;
    unsigned long long own = 0;
    for (int digit = first; digit < first + each; ++digit) {
        own += amount(digit);
    }
    unsigned long long before = block_sum_before(own, scratch);
    if (before < target && target <= before + own) {
        int digit = first;
        while (before + amount(digit) < target) {
            before += amount(digit++);
        }
        histogram.digit = digit;
        histogram.before = before;
    }
    __syncthreads();
}

// A limit up to which there are `target` tokens (or that much mass), 1 or more, and no token more than that takes.
// Orders have 31 + row.id_bits bits; the digit above `shift` is order >> shift & (DIGITS - 1). The row is read once for
// each digit, from the highest on, and no more once a single token begins with the digits found: which of the limits
// that let it in is returned does not matter then.
static __device__ Order radix_limit(const Row& row, bool by_mass, unsigned long long target, Histogram& histogram,
                                    Scratch& scratch) {
    Order found = 0;
    const int highest = (31 + row.id_bits - 1) / DIGIT_BITS * DIGIT_BITS;
    for (int shift = highest; shift >= 0; shift -= DIGIT_BITS) {
        count_digits(row, by_mass, found, shift, histogram);
        find_digit(by_mass, target, histogram, scratch);
        target -= histogram.before;
        found = found << DIGIT_BITS | histogram.digit;
        if (histogram.count[histogram.digit] == 1) {
            return ((found + 1) << shift) - 1;
        }
    }
    return found;
}

__global__ void __launch_bounds__(MOST_THREADS, 1)
sample_2_kernel(const float* logits, Parameters parameters, int64_t* tokens, int64_t* limits, int vocab_size,
                int id_bits) {
    __shared__ Scratch scratch;
    __shared__ Mass of_warp[MOST_WARPS];
    __shared__ Histogram histogram;
    Row row(logits, vocab_size, id_bits);
    float largest;
    if (!begin_row(row, parameters, largest, tokens, limits, scratch)) {
        return;
    }
    const int top_k = parameters.top_k[blockIdx.x];
    const double top_p = parameters.top_p[blockIdx.x];
    Order limit = row.order(INFINITY, vocab_size - 1);
    if (0 < top_k && top_k < vocab_size) {
        limit = radix_limit(row, false, top_k, histogram, scratch);
    }
    if (top_p < 1.0) {
        const Mass kept = totals_up_to(row, limit, scratch).mass;
        limit = radix_limit(row, true, share_of(kept, top_p), histogram, scratch);
    }
    limit = min(limit, limit_of_min_p(row, parameters));
    weigh_spans(row, limit, of_warp);
    draw(row, limit, uniform_of_row(parameters), of_warp, tokens + blockIdx.x, scratch);
    if (threadIdx.x == 0 && limits) limits[blockIdx.x] = static_cast<int64_t>(limit);
}

extern "C" int sample_2_radix(const float* logits, const float* temperature, const int* top_k, const double* top_p,
                              const float* max_distance, const double* uniforms, const int64_t* seeds,
                              const int64_t* steps, int64_t* tokens, int64_t* limits, int num_rows, int vocab_size,
                              cudaStream_t stream) {
    const Parameters parameters = {temperature, top_k, top_p, max_distance, uniforms, seeds, steps};
    return with_shape(num_rows, vocab_size, MOST_THREADS, [&](Shape shape) {
        sample_2_kernel<<<num_rows, shape.threads, 0, stream>>>(logits, parameters, tokens, limits, vocab_size,
                                                                shape.id_bits);
        return cudaGetLastError();
    });
}
