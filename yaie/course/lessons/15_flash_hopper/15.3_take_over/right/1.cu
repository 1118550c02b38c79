template <typename T, int COLUMNS, int N>
__device__ __forceinline__ void take_over(float (&sums)[COLUMNS], uint32_t (&weights)[N / 8][4],
                                          const float (&scores)[N], const float (&factors)[2]) {
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(sums);
    pack_weights<T>(scores, weights);
    rescale(sums, factors);
}
