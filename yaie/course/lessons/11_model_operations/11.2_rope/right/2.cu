template <typename T>
__device__ void turn(T& a, T& b, float c, float s) {
    const float old_a = to_float(a), old_b = to_float(b);
    a = from_float<T>(old_a * c - old_b * s);
    b = from_float<T>(old_b * c + old_a * s);
}

template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    const int half = packs * N;
    const int64_t angle = static_cast<int64_t>(blockIdx.x) * half;
    int work = threadIdx.x;
    while (work < num_heads * packs) {
        T* head = x + blockIdx.x * token_stride + (work / packs) * 2 * half;
        const int from = work % packs * N;
        for (int i = from; i < from + N; ++i) {
            turn(head[i], head[i + half], cos[angle + i], sin[angle + i]);
        }
        work += blockDim.x;
    }
}
