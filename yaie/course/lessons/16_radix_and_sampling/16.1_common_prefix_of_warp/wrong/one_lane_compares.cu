// expect: 1.0 threads of a warp load at a time
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t same = 0;
    if (threadIdx.x % 32 == 0) {
        while (same < count && a[same] == b[same]) ++same;
    }
    return __shfl_sync(FULL_WARP, same, 0);
}
