__device__ unsigned vote(const int64_t* a, const int64_t* b, int64_t i, int64_t count) {
    return __ballot_sync(FULL_WARP, i < count ? a[i] == b[i] : 1);
}

__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t first = 0;
    while (first < count) {
        const unsigned same = vote(a, b, first + threadIdx.x % 32, count);
        if (same != FULL_WARP) {
            return first + __ffs(~same) - 1;
        }
        first += 32;
    }
    return count;
}
