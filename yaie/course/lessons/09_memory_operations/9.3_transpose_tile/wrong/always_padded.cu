// expect: PAD is not what pads the tile
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[TILE][TILE + 1];
    const int col = blockIdx.x * TILE + threadIdx.x;
    const int row = blockIdx.y * TILE + threadIdx.y;
    if (row < rows && col < cols) {
        tile[threadIdx.y][threadIdx.x] = x[static_cast<int64_t>(row) * cols + col];
    }
    __syncthreads();
    const int out_col = blockIdx.y * TILE + threadIdx.x;  // the tile's place in y: rows and columns change places
    const int out_row = blockIdx.x * TILE + threadIdx.y;
    if (out_row < cols && out_col < rows) {
        y[static_cast<int64_t>(out_row) * rows + out_col] = tile[threadIdx.x][threadIdx.y];
    }
}
