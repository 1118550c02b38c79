// expect: most threads of a warp have nothing to do
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        for (int64_t i = 0; i < n; ++i) c[i] = a[i] + b[i];
    }
}
