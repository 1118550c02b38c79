// Sums over a thread block in whole numbers, and the search that radix_ops and sampling share: things stand in some
// order, each with a number of its own (`Order`) and a `Mass`; what is wanted is the smallest order up to which there
// are enough of them, or enough mass. Nothing is sorted for that.
#pragma once
#include "common.cuh"

typedef unsigned long long Order;
typedef unsigned long long Mass;

constexpr int MOST_WARPS = 32;  // of a thread block

// How many there are, and their mass together.
struct Totals {
    unsigned count;
    Mass mass;
};

// Shared memory for the sums over a thread block.
struct Scratch {
    Totals of_warp[MOST_WARPS];
    unsigned long long numbers[MOST_WARPS];
};

// The sum over a warp, in every lane. The hardware adds 32 bits over a warp in one instruction (sm_80 and newer), so 64
// bits go in three parts, small enough that 32 of them fit.
__device__ __forceinline__ unsigned long long warp_total(unsigned long long value) {
    constexpr unsigned PART = (1u << 22) - 1;
    const unsigned long long low = __reduce_add_sync(FULL_WARP, static_cast<unsigned>(value) & PART);
    const unsigned long long middle = __reduce_add_sync(FULL_WARP, static_cast<unsigned>(value >> 22) & PART);
    const unsigned long long high = __reduce_add_sync(FULL_WARP, static_cast<unsigned>(value >> 44));
    return low + (middle << 22) + (high << 44);
}

__device__ __forceinline__ unsigned warp_total(unsigned value) {
    return __reduce_add_sync(FULL_WARP, value);
}

// The sums over a thread block, in every thread. All threads must call it.
__device__ __forceinline__ Totals block_total(Totals own, Scratch& scratch) {
    own = {warp_total(own.count), warp_total(own.mass)};
    const int lane = threadIdx.x % 32;
    if (lane == 0) {
        scratch.of_warp[threadIdx.x / 32] = own;
    }
    __syncthreads();
    Totals all = {0, 0};
    if (lane < blockDim.x / 32) {
        all = scratch.of_warp[lane];
    }
    __syncthreads();  // no thread may write there again before all have read it
    return {warp_total(all.count), warp_total(all.mass)};
}

// The largest value of a thread block, in every thread.
__device__ __forceinline__ unsigned long long block_max(unsigned long long value, Scratch& scratch) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value = max(value, __shfl_xor_sync(FULL_WARP, value, distance));
    }
    if (threadIdx.x % 32 == 0) {
        scratch.numbers[threadIdx.x / 32] = value;
    }
    __syncthreads();
    for (int warp = 0; warp < blockDim.x / 32; ++warp) {
        value = max(value, scratch.numbers[warp]);
    }
    __syncthreads();
    return value;
}

// The sum of `own` over the threads before this one.
__device__ __forceinline__ unsigned long long block_sum_before(unsigned long long own, Scratch& scratch) {
    unsigned long long up_to = own;
    for (int distance = 1; distance < 32; distance *= 2) {
        const unsigned long long other = __shfl_up_sync(FULL_WARP, up_to, distance);
        up_to += threadIdx.x % 32 >= distance ? other : 0;
    }
    if (threadIdx.x % 32 == 31) {
        scratch.numbers[threadIdx.x / 32] = up_to;
    }
    __syncthreads();
    for (int warp = 0; warp < threadIdx.x / 32; ++warp) {
        up_to += scratch.numbers[warp];
    }
    __syncthreads();
    return up_to - own;
}

// By bisection: the smallest limit with at least `target` items (or that much mass) up to it. `totals(limit)` counts;
// all threads of the block must call this, and all get the same answer. No item lies below `low`; `high` reaches the
// target, and `count` items lie up to it.
//
// It ends as soon as only one item is left between the two ends, so it takes few steps where orders are far apart.
template <typename F>
__device__ Order smallest_limit(F totals, bool by_mass, unsigned long long target, Order low, Order high,
                                unsigned long long count) {
    unsigned long long count_below = 0;  // items below low, which do not reach the target
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

