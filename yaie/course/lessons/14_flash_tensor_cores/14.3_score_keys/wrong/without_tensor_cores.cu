// expect: tensor cores did not do the work
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int lane = threadIdx.x % 32, first_row = threadIdx.x / 32 * 16 * BANDS;
    for (int band = 0; band < BANDS; ++band) {
        for (int block = 0; block < BLOCKS; ++block) {
            for (int i = 0; i < 4; ++i) {
                const int row = first_row + 16 * band + lane / 4 + 8 * (i / 2);
                const int key = 8 * block + lane % 4 * 2 + i % 2;
                for (int d = 0; d < HEAD_DIM; ++d) {
                    const T* q = reinterpret_cast<const T*>(&queries[place<HEAD_DIM>(row, d / 8)]);
                    const T* k = reinterpret_cast<const T*>(&keys[place<HEAD_DIM>(key, d / 8)]);
                    scores[band][block][i] += to_float(q[d % 8]) * to_float(k[d % 8]);
                }
            }
        }
    }
}
