// Rounds into registers of its own while the product is still at work, and moves them after the wait.
template <typename T, int COLUMNS, int N>
__device__ __forceinline__ void take_over(float (&sums)[COLUMNS], uint32_t (&weights)[N / 8][4],
                                          float (&scores)[N], Softmax& softmax) {
    weigh(scores, softmax);
    uint32_t next[N / 8][4];
    pack_weights<T>(scores, next);
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(sums);
    rescale(sums, softmax.factors);
#pragma unroll
    for (int i = 0; i < N / 8 * 4; ++i) {
        weights[i / 4][i % 4] = next[i / 4][i % 4];
    }
}
