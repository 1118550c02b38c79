// Two parts at a time: the mean so far, and the next.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float mean = parts[0];
    lse = lses[0];
    for (int i = 1; i < count; ++i) {
        float high = fmaxf(lse, lses[i]);
        float a = exp2f(lse - high), b = exp2f(lses[i] - high);
        mean = (a * mean + b * parts[i * stride]) / (a + b);
        lse = high + log2f(a + b);
    }
    return mean;
}
