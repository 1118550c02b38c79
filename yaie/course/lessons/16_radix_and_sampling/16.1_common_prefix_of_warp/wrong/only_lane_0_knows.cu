// expect: answer of each lane
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    const int lane = threadIdx.x % 32;
    int64_t place = count;
    for (int64_t i = lane; i < count && place == count; i += 32) {
        if (a[i] != b[i]) place = i;
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        const int64_t other = __shfl_down_sync(FULL_WARP, place, distance);
        place = other < place ? other : place;
    }
    return place;
}
