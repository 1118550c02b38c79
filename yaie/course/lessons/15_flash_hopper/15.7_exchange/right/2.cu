// One shuffle for each word that leaves. Lane q orders its words as q ^ 0, q ^ 1, ...: then a shuffle over distance d
// carries in every lane the word at place d, and what comes is put in order again.
__device__ __forceinline__ void order(uint32_t (&words)[4]) {
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
    const uint32_t a = odd ? words[1] : words[0], b = odd ? words[0] : words[1];
    const uint32_t c = odd ? words[3] : words[2], d = odd ? words[2] : words[3];
    words[0] = upper ? c : a;
    words[1] = upper ? d : b;
    words[2] = upper ? a : c;
    words[3] = upper ? b : d;
}

__device__ __forceinline__ void exchange(uint32_t (&words)[4]) {
    order(words);
#pragma unroll
    for (int distance = 1; distance < 4; ++distance) {
        words[distance] = __shfl_xor_sync(FULL_WARP, words[distance], distance);
    }
    order(words);
}
