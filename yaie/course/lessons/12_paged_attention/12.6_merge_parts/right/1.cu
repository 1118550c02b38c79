// expect: There is a better way.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = -INFINITY;
    for (int i = 0; i < count; i++) largest = lses[i] > largest ? lses[i] : largest;
    float total = 0;
    for (int i = 0; i < count; i++) total += exp2f(lses[i] - largest);
    float sum = 0;
    for (int i = 0; i < count; i++, parts += stride) sum += exp2f(lses[i] - largest) / total * *parts;
    lse = log2f(total) + largest;
    return sum;
}
