struct Place {
    int row, col;
};

__device__ Place place(unsigned block_row, unsigned block_col) {
    return {static_cast<int>(block_row * TILE + threadIdx.y), static_cast<int>(block_col * TILE + threadIdx.x)};
}

template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[TILE][TILE + PAD];
    const Place in = place(blockIdx.y, blockIdx.x);
    float value = 0;
    if (in.row < rows && in.col < cols) value = x[static_cast<int64_t>(in.row) * cols + in.col];
    tile[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    const Place out = place(blockIdx.x, blockIdx.y);
    if (out.row < cols && out.col < rows) {
        y[static_cast<int64_t>(out.row) * rows + out.col] = tile[threadIdx.x][threadIdx.y];
    }
}
