// expect: elements are loaded more than once
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t same = 0;
    while (same < count && a[same] == b[same]) ++same;
    return same;
}
