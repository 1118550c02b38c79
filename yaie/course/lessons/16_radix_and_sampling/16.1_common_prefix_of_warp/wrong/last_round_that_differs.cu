// expect: 100 tokens, of which 3 and 40 and 99 differ
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t place = count;
    for (int64_t first = 0; first < count; first += 32) {
        const int64_t i = first + threadIdx.x % 32;
        const unsigned differ = __ballot_sync(FULL_WARP, i < count && a[i] != b[i]);
        if (differ != 0) place = first + __ffs(differ) - 1;
    }
    return place;
}
