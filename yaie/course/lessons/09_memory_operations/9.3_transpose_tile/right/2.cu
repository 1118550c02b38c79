template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float column_of[TILE][TILE + PAD];  // transposed when it is written
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < rows && col < cols) {
        column_of[threadIdx.x][threadIdx.y] = x[static_cast<int64_t>(row) * cols + col];
    }
    __syncthreads();
    const int64_t to_row = blockIdx.x * TILE + threadIdx.y;
    const int64_t to_col = blockIdx.y * TILE + threadIdx.x;
    if (to_row >= cols || to_col >= rows) {
        return;
    }
    y[to_row * rows + to_col] = column_of[threadIdx.y][threadIdx.x];
}
