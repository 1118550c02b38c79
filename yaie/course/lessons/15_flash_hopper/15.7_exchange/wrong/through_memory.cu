// expect: three words of others
__device__ uint32_t through[128][4];

__device__ __forceinline__ void exchange(uint32_t (&words)[4]) {
    const int own = threadIdx.x % 4, first = threadIdx.x - own;
    for (int i = 0; i < 4; ++i) through[threadIdx.x][i] = words[i];
    __syncwarp();
    for (int i = 0; i < 4; ++i) words[i] = through[first + i][own];
    __syncwarp();
}
