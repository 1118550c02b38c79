// expect: There is a better way.
// Every word of every lane of the quad to all, and each lane takes what is for it.
__device__ __forceinline__ void exchange(uint32_t (&words)[4]) {
    const int lane = threadIdx.x % 32, own = lane % 4;
    uint32_t got[4];
#pragma unroll
    for (int from = 0; from < 4; ++from) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint32_t word = __shfl_sync(FULL_WARP, words[i], lane - own + from);
            got[from] = i == own ? word : got[from];
        }
    }
    for (int i = 0; i < 4; ++i) words[i] = got[i];
}
