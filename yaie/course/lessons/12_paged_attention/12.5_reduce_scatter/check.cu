// reduce_scatter by itself: each lane of a warp writes the first of its numbers, as many as are sums.
template <int LANES, int COUNT>
__global__ void scatter_alone(const float* numbers, float* sums) {
    constexpr int MINE = COUNT > LANES ? COUNT / LANES : 1;
    float x[COUNT];
    for (int i = 0; i < COUNT; ++i) {
        x[i] = numbers[threadIdx.x * COUNT + i];
    }
    reduce_scatter<LANES>(x, threadIdx.x);
    for (int i = 0; i < MINE; ++i) {
        sums[threadIdx.x * MINE + i] = x[i];
    }
}

#define SCATTER(LANES, COUNT)                                                                                     \
    extern "C" int scatter_##LANES##_##COUNT(const float* numbers, float* sums, cudaStream_t stream) {            \
        scatter_alone<LANES, COUNT><<<1, 32, 0, stream>>>(numbers, sums);                                         \
        return cudaGetLastError();                                                                                \
    }
SCATTER(2, 2)
SCATTER(2, 4)
SCATTER(4, 2)
SCATTER(4, 4)
SCATTER(8, 16)
SCATTER(16, 16)
SCATTER(32, 16)
SCATTER(32, 8)
SCATTER(16, 1)
