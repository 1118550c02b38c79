// Finding the limit of top-k and of top-p: the smallest order up to which there are enough tokens, or enough mass.
#pragma once
#include "row.cuh"

// By halving: the smallest limit with at least `target` tokens (or mass) up to it. `totals(limit)` counts; all threads of
// the block must call this, and all get the same answer. No token lies below `low`; `high` reaches the target, and `count`
// tokens lie up to it.
//
// It ends as soon as only one token is left between the two ends, so distances that are no ties need few steps.
template <typename F>
__device__ Order smallest_limit(F totals, bool by_mass, unsigned long long target, Order low, Order high,
                                unsigned long long count) {
    unsigned long long count_below = 0;  // tokens with an order below low, which do not reach the target
    while (low < high && count - count_below > 1) {
        const Order middle = low + (high - low) / 2;
        const Totals up_to = totals(middle);
        if ((by_mass ? up_to.mass : up_to.count) >= target) {
            high = middle;
            count = up_to.count;
        } else {
            low = middle + 1;
            count_below = up_to.count;
        }
    }
    return high;
}

// The limit of top-k and top-p together, each by halving over the whole row.
template <typename T>
__device__ Order limit_by_halving(const Row<T>& row, int top_k, double top_p, Scratch& scratch) {
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

constexpr int DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS;

// Shared memory of radix_limit.
struct Histogram {
    unsigned count[DIGITS];
    Mass mass[DIGITS];
    int digit;
    unsigned long long before;
};

// The same by digits of 11 bits, from the highest on: one pass over the row counts the tokens (or adds up the mass) of
// each value of a digit, the running sum says which value the limit has, and the next pass looks only at the tokens that
// agree with all digits found so far. It ends when only one token agrees.
template <typename T>
__device__ Order radix_limit(const Row<T>& row, bool by_mass, unsigned long long target, Histogram& histogram,
                             Scratch& scratch) {
    Order found = 0;
    for (int shift = (31 + row.id_bits - 1) / DIGIT_BITS * DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        for (int i = threadIdx.x; i < DIGITS; i += blockDim.x) {
            histogram.count[i] = 0;
            histogram.mass[i] = 0;
        }
        __syncthreads();
        row.for_each([&](int id, float logit) {
            const float distance = row.distance(logit);
            const Order order = row.order(distance, id);
            if (order >> shift >> DIGIT_BITS == found) {
                atomicAdd(&histogram.count[order >> shift & DIGITS - 1], 1u);
                if (by_mass) {
                    atomicAdd(&histogram.mass[order >> shift & DIGITS - 1], weight(distance));
                }
            }
        });
        __syncthreads();
        // Each thread adds up some neighbouring values of the digit; a scan gives what lies before them.
        const int each = DIGITS / blockDim.x;
        const int first = threadIdx.x * each;
        unsigned long long own = 0;
        for (int i = first; i < first + each; ++i) {
            own += by_mass ? histogram.mass[i] : histogram.count[i];
        }
        unsigned long long before = block_sum_before(own, scratch);
        if (before < target && target <= before + own) {
            int digit = first;
            for (;; ++digit) {
                const unsigned long long here = by_mass ? histogram.mass[digit] : histogram.count[digit];
                if (before + here >= target) {
                    break;
                }
                before += here;
            }
            histogram.digit = digit;
            histogram.before = before;
        }
        __syncthreads();
        target -= histogram.before;
        found = found << DIGIT_BITS | histogram.digit;
        const bool alone = histogram.count[histogram.digit] == 1;
        __syncthreads();
        if (alone) {
            return (found + 1 << shift) - 1;  // whatever the digits below are
        }
    }
    return found;
}
