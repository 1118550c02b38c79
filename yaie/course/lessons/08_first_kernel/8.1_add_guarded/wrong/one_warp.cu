// expect: the warps do not share the work
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x;
    for (int64_t i = first + threadIdx.x; threadIdx.x < 32 && i < n && i < first + blockDim.x; i += 32) {
        c[i] = a[i] + b[i];
    }
}
