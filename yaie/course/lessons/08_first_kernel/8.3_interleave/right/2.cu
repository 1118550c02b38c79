// A pair for each thread, stored as one.
__global__ void interleave_kernel(const float* a, const float* b, float* c, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) reinterpret_cast<float2*>(c)[i] = make_float2(a[i], b[i]);
}
