__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    int64_t element = (int64_t)blockDim.x * blockIdx.x + threadIdx.x;
    if (element >= n) return;
    c[element] = b[element] + a[element];
}
