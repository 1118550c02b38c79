// expect: sums of each lane of the warp
template <int LANES, int COUNT>
__device__ __forceinline__ void reduce_scatter(float (&x)[COUNT], int lane) {
    int count = COUNT;
    for (int distance = 16; distance > 0; distance /= 2) {
        if (count > 1) {
            count /= 2;
            const bool upper = lane & distance;
            for (int i = 0; i < count; ++i) {
                const float mine = upper ? x[i + count] : x[i];
                const float theirs = upper ? x[i] : x[i + count];
                x[i] = mine + __shfl_xor_sync(FULL_WARP, theirs, distance);
            }
        } else {
            x[0] += __shfl_xor_sync(FULL_WARP, x[0], distance);
        }
    }
}
