__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    if (score <= largest) {
        return 1.0f;
    }
    float correction = exp2f(largest - score);
    largest = score;
    total = total * correction;
    return correction;
}
