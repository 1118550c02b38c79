// expect: elements are stored more than once
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) c[i] = a[i] + b[i];
}
