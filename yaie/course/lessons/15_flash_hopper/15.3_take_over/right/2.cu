template <typename T, int COLUMNS, int N>
__device__ __forceinline__ void take_over(float (&sums)[COLUMNS], uint32_t (&weights)[N / 8][4],
                                          float (&scores)[N], Softmax& softmax) {
    const float first = softmax.factors[0], second = softmax.factors[1];
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(sums);
#pragma unroll
    for (int i = 0; i < COLUMNS; i += 4) {
        sums[i] *= first;
        sums[i + 1] *= first;
        sums[i + 2] *= second;
        sums[i + 3] *= second;
    }
    weigh(scores, softmax);
    pack_weights<T>(scores, weights);
}
