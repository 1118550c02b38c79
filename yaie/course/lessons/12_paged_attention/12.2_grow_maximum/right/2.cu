__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    const float old = largest;
    largest = max(old, score);
    const float factor = powf(2.0f, old - largest);
    total *= factor;
    return factor;
}
