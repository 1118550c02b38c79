template <int DISTANCE, int LEFT, int COUNT>
__device__ __forceinline__ void rounds_from(float (&x)[COUNT], int lane) {
    if constexpr (DISTANCE > 0) {
        constexpr int HALF = LEFT / 2;
        if constexpr (HALF == 0) {
            x[0] += __shfl_xor_sync(FULL_WARP, x[0], DISTANCE);
            rounds_from<DISTANCE / 2, LEFT>(x, lane);
        } else {
            const bool set = (lane / DISTANCE) % 2 == 1;
            for (int i = 0; i < HALF; ++i) {
                const float got = __shfl_xor_sync(FULL_WARP, set ? x[i] : x[HALF + i], DISTANCE);
                x[i] = got + (set ? x[HALF + i] : x[i]);
            }
            rounds_from<DISTANCE / 2, HALF>(x, lane);
        }
    }
}

template <int LANES, int COUNT>
__device__ __forceinline__ void reduce_scatter(float (&x)[COUNT], int lane) {
    rounds_from<LANES / 2, COUNT>(x, lane);
}
