template <int LANES, int COUNT>
__device__ __forceinline__ void reduce_scatter(float (&x)[COUNT], int lane) {
    int left = COUNT;
#pragma unroll
    for (int distance = LANES >> 1; distance >= 1; distance >>= 1) {
        if (left == 1) {
            x[0] += __shfl_xor_sync(FULL_WARP, x[0], distance);
            continue;
        }
        left >>= 1;
#pragma unroll
        for (int i = 0; i < COUNT / 2; ++i) {
            if (i >= left) break;
            if (lane & distance) {  // what is kept comes first
                const float lower = x[i];
                x[i] = x[i + left];
                x[i + left] = lower;
            }
            x[i] += __shfl_xor_sync(FULL_WARP, x[i + left], distance);
        }
    }
}
