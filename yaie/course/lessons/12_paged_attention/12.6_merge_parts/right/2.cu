// One pass, with a maximum that grows.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = lses[0], total = 1.0f, sum = parts[0];
    for (int i = 1; i < count; ++i) {
        const float larger = fmaxf(largest, lses[i]);
        const float old = exp2f(largest - larger), weight = exp2f(lses[i] - larger);
        total = total * old + weight;
        sum = sum * old + weight * parts[(long long)i * stride];
        largest = larger;
    }
    lse = largest + log2f(total);
    return sum / total;
}
