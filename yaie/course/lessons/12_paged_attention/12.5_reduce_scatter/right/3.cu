template <int LANES, int COUNT>
__device__ __forceinline__ void reduce_scatter(float (&x)[COUNT], int lane) {
    int distance = LANES / 2;
#pragma unroll
    for (int half = COUNT / 2; half > 0; half /= 2) {
        if (distance > 0) {
            const int partner = lane ^ distance;
            const bool keep_upper = lane > partner;
#pragma unroll
            for (int i = 0; i < half; ++i) {
                float a = x[i], b = x[i + half];
                if (keep_upper) {
                    const float c = a;
                    a = b;
                    b = c;
                }
                x[i] = a + __shfl_sync(FULL_WARP, b, partner);
            }
            distance /= 2;
        }
    }
    for (; distance > 0; distance /= 2) x[0] += __shfl_xor_sync(FULL_WARP, x[0], distance);
}
