// expect: The result is right, but the threads do not share the work
__global__ void thread_0_reduces(const float* x, float* y, int size) {
    extern __shared__ float row[];
    __shared__ float most, sum;
    x += static_cast<int64_t>(blockIdx.x) * size;
    y += static_cast<int64_t>(blockIdx.x) * size;
    for (int i = threadIdx.x; i < size; i += blockDim.x) row[i] = x[i];
    __syncthreads();
    if (threadIdx.x == 0) {
        most = row[0];
        for (int i = 1; i < size; ++i) most = fmaxf(most, row[i]);
        sum = 0.0f;
        for (int i = 0; i < size; ++i) sum += expf(row[i] - most);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < size; i += blockDim.x) y[i] = expf(row[i] - most) / sum;
}

extern "C" int softmax_rows(const float* x, float* y, int num_rows, int size, cudaStream_t stream) {
    if (num_rows == 0 || size == 0) return cudaSuccess;
    thread_0_reduces<<<num_rows, 256, size * sizeof(float), stream>>>(x, y, size);
    return cudaGetLastError();
}
