__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t i = threadIdx.x % 32;
    for (int64_t rest = count; rest > 0; rest -= 32, i += 32) {
        const bool same = i >= count || a[i] == b[i];
        if (!__all_sync(FULL_WARP, same)) {
            return i - threadIdx.x % 32 + __ffs(__ballot_sync(FULL_WARP, !same)) - 1;
        }
    }
    return count;
}
