// expect: There is a better way.
// Whole warps take turns at a and b.
__global__ void interleave_kernel(const float* a, const float* b, float* c, int64_t n) {
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int64_t warp = thread / 32, lane = thread % 32;
    const int64_t i = warp / 2 * 32 + lane;
    if (i >= n) return;
    const float* from = warp % 2 ? b : a;
    c[2 * i + warp % 2] = from[i];
}
