// expect: There is a better way.
struct Larger {
    __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};
struct Sum {
    __device__ float operator()(float a, float b) const { return a + b; }
};

// All threads get the result.
template <typename F>
__device__ float over_block(float value, float* scratch, F f) {
    scratch[threadIdx.x] = value;
    for (unsigned left = blockDim.x; left > 1; left /= 2) {
        __syncthreads();
        if (threadIdx.x < left / 2) scratch[threadIdx.x] = f(scratch[threadIdx.x], scratch[threadIdx.x + left / 2]);
    }
    __syncthreads();
    const float result = scratch[0];
    __syncthreads();
    return result;
}

__global__ void softmax_kernel(const float* x, float* y, int size) {
    extern __shared__ float scratch[];  // blockDim.x for the reductions, then the row
    float* row = scratch + blockDim.x;
    const float* from = x + (int64_t)blockIdx.x * size;
    float* to = y + (int64_t)blockIdx.x * size;
    float value = -INFINITY;
    for (int i = threadIdx.x; i < size; i += blockDim.x) value = fmaxf(value, row[i] = from[i]);
    const float most = over_block(value, scratch, Larger());
    value = 0.0f;
    for (int i = threadIdx.x; i < size; i += blockDim.x) value += row[i] = expf(row[i] - most);
    const float sum = over_block(value, scratch, Sum());
    for (int i = threadIdx.x; i < size; i += blockDim.x) to[i] = row[i] / sum;
}

extern "C" int softmax_rows(const float* x, float* y, int num_rows, int size, cudaStream_t stream) {
    if (size == 0) return cudaSuccess;
    if (num_rows == 0) return cudaSuccess;
    const int threads = size > 512 ? 512 : 64;
    softmax_kernel<<<dim3(num_rows), dim3(threads), sizeof(float) * (threads + size), stream>>>(x, y, size);
    return cudaPeekAtLastError();
}
