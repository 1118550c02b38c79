// The halves of the quad first, then neighbours; every swap is written out.
__device__ __forceinline__ void swap(uint32_t& first, uint32_t& second, int distance) {
    const bool gives_first = (threadIdx.x & distance) != 0;
    const uint32_t given = gives_first ? first : second;
    const uint32_t got = __shfl_sync(FULL_WARP, given, (threadIdx.x % 32) ^ distance);
    if (gives_first) {
        first = got;
    } else {
        second = got;
    }
}

__device__ __forceinline__ void exchange(uint32_t (&words)[4]) {
    swap(words[0], words[2], 2);
    swap(words[1], words[3], 2);
    swap(words[0], words[1], 1);
    swap(words[2], words[3], 1);
}
