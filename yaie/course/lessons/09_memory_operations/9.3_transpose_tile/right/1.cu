template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[32 * (32 + PAD)];
    const int tx = threadIdx.x, ty = threadIdx.y;
    const int r = blockIdx.y * 32 + ty, c = blockIdx.x * 32 + tx;
    if (r < rows && c < cols) tile[ty * (32 + PAD) + tx] = x[(int64_t)r * cols + c];
    __syncthreads();
    const int r2 = blockIdx.x * 32 + ty, c2 = blockIdx.y * 32 + tx;
    if (r2 < cols && c2 < rows) y[(int64_t)r2 * rows + c2] = tile[tx * (32 + PAD) + ty];
}
