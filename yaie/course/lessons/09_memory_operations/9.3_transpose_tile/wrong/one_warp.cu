// expect: the warps do not share the work
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[TILE][TILE + PAD];
    for (int k = 0; threadIdx.y == 0 && k < TILE; ++k) {
        const int col = blockIdx.x * TILE + threadIdx.x, row = blockIdx.y * TILE + k;
        if (row < rows && col < cols) {
            tile[k][threadIdx.x] = x[static_cast<int64_t>(row) * cols + col];
        }
    }
    __syncthreads();
    for (int k = 0; threadIdx.y == 0 && k < TILE; ++k) {
        const int out_col = blockIdx.y * TILE + threadIdx.x, out_row = blockIdx.x * TILE + k;
        if (out_row < cols && out_col < rows) {
            y[static_cast<int64_t>(out_row) * rows + out_col] = tile[threadIdx.x][k];
        }
    }
}
