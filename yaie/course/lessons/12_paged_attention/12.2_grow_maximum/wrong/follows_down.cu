// expect: The maximum went down to a smaller score
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    const float next = score < largest - 64.0f ? largest : score;
    const float correction = exp2f(largest - next);
    total *= correction;
    largest = next;
    return correction;
}
