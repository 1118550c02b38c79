// The softmax of a row that is never there as a whole: taken over its keys one after the other, and merged from parts.
// All exponentials and logarithms are to base 2.
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

// Let the running maximum `largest` grow to at least `score`. Returns the factor by which everything that was added up
// relative to the old maximum is now too large: 2^(old maximum - new maximum), 1 where the maximum stays. `total`, the
// sum of the weights 2^(score - largest), is corrected here; other sums are the caller's.
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    const float larger = fmaxf(largest, score);
    const float correction = exp2f(largest - larger);
    total *= correction;
    largest = larger;
    return correction;
}

// Merge attention over `count` disjoint sets of keys, one element of the output. Set i has this element in
// parts[i * stride], and in lses[i] the base-2 logarithm of its total weight. The merged element, which is returned, is
// the mean of the parts weighted by 2^lses[i]; `lse` receives the logarithm of the total weight of all sets. The lses
// may be of any size: 2^lses[i] need not fit into a float.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = lses[0];
    for (int i = 1; i < count; ++i) {
        largest = fmaxf(largest, lses[i]);
    }
    float total = 0.0f;
    float sum = 0.0f;
    for (int i = 0; i < count; ++i) {
        const float weight = exp2f(lses[i] - largest);
        total += weight;
        sum += weight * parts[static_cast<int64_t>(i) * stride];
    }
    lse = largest + log2f(total);
    return sum / total;
}
