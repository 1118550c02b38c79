// expect: most threads of a warp have nothing to do
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    for (int i = 0; threadIdx.x + threadIdx.y == 0 && i < TILE * TILE; ++i) {
        const int col = blockIdx.x * TILE + i % TILE, row = blockIdx.y * TILE + i / TILE;
        if (row < rows && col < cols) {
            y[static_cast<int64_t>(col) * rows + row] = x[static_cast<int64_t>(row) * cols + col];
        }
    }
}
