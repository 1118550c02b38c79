// expect: most threads of a warp have nothing to do
__global__ void interleave_kernel(const float* a, const float* b, float* c, int64_t n) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        for (int64_t i = 0; i < n; ++i) {
            c[2 * i] = a[i];
            c[2 * i + 1] = b[i];
        }
    }
}
