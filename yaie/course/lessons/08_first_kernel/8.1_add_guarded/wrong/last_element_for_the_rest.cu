// expect: A thread without one touches no memory
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    i = i < n ? i : n - 1;
    c[i] = a[i] + b[i];
}
