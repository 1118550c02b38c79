__device__ int64_t my_element() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__global__ void add_guarded(const float* __restrict__ x, const float* __restrict__ y, float* z, const int64_t count) {
    const auto i = my_element();
    if (i < count) z[i] = x[i] + y[i];
}
