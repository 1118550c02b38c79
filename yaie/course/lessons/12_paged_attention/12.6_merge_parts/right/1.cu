__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = -INFINITY;
    for (int i = 0; i < count; i++) largest = lses[i] > largest ? lses[i] : largest;
    float total = 0, sum = 0;
    for (int i = 0; i < count; i++, parts += stride) {
        total += exp2f(lses[i] - largest);
        sum += exp2f(lses[i] - largest) * *parts;
    }
    lse = log2f(total) + largest;
    return sum / total;
}
