// expect: factors of different rows
template <typename T, int COLUMNS, int N>
__device__ __forceinline__ void take_over(float (&sums)[COLUMNS], uint32_t (&weights)[N / 8][4],
                                          float (&scores)[N], Softmax& softmax) {
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(sums);
    for (int i = 0; i < COLUMNS; ++i) {
        sums[i] *= softmax.factors[i % 2];
    }
    weigh(scores, softmax);
    pack_weights<T>(scores, weights);
}
