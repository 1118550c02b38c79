// expect: Subtract the largest of all lses first
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = -100.0f;
    for (int i = 0; i < count; ++i) {
        largest = fmaxf(largest, lses[i]);
    }
    float total = 0.0f, sum = 0.0f;
    for (int i = 0; i < count; ++i) {
        const float weight = exp2f(lses[i] - largest);
        total += weight;
        sum += weight * parts[static_cast<int64_t>(i) * stride];
    }
    lse = largest + log2f(total);
    return sum / total;
}
