// expect: The sums are right, but they take too many shuffles
template <int LANES, int COUNT>
__device__ __forceinline__ void reduce_scatter(float (&x)[COUNT], int lane) {
    for (int i = 0; i < COUNT; ++i)
        for (int distance = LANES / 2; distance > 0; distance /= 2) x[i] += __shfl_xor_sync(FULL_WARP, x[i], distance);
    constexpr int MINE = COUNT > LANES ? COUNT / LANES : 1;
    const int first = lane % LANES * COUNT / LANES;
    for (int i = 0; i < MINE; ++i) x[i] = x[first + i];
}
