// common_prefix_of_warp by itself: warp w compares row w of `a` and `b`, up to its count; all lanes write their answer.
__global__ void common_prefix_kernel(const int64_t* a, const int64_t* b, int64_t count0, int64_t count1,
                                     int64_t* answers, int length) {
    const int warp = threadIdx.x / 32;
    answers[threadIdx.x] = common_prefix_of_warp(a + warp * length, b + warp * length,
                                                 warp == 0 ? count0 : count1);
}

extern "C" int common_prefix_alone(const int64_t* a, const int64_t* b, int64_t count0, int64_t count1, int64_t* answers,
                                   int length, int warps, cudaStream_t stream) {
    common_prefix_kernel<<<1, 32 * warps, 0, stream>>>(a, b, count0, count1, answers, length);
    return cudaGetLastError();
}
