// Transpose a matrix: y[c][r] = x[r][c]. Nothing is computed, so all that matters is how memory is touched.
//
// 1 transpose_1_naive    reads along rows and writes along columns: neighbouring threads write far apart
// 2 transpose_2_tiled    goes through a tile in shared memory, so that both sides run along rows; but a column of the
//                        tile lies in one bank, and its 32 reads queue up
// 3 transpose_3_padded   one column more in the tile: the reads of a column fall into 32 different banks
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int TILE = 32;  // a thread block has TILE x TILE threads

// Thread (threadIdx.y, threadIdx.x) moves one element.
__global__ void transpose_1_kernel(const float* x, float* y, int rows, int cols) {
    const int col = blockIdx.x * TILE + threadIdx.x;
    const int row = blockIdx.y * TILE + threadIdx.y;
    if (row < rows && col < cols) {
        y[static_cast<int64_t>(col) * rows + row] = x[static_cast<int64_t>(row) * cols + col];
    }
}

// Transpose a tile through shared memory, so that a warp reads neighbouring elements of x and writes neighbouring
// elements of y. Tiles at the edge of x are not full. PAD: columns that a row of the tile has besides, 0 (bank
// conflicts) or 1 (none).
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[TILE][TILE + PAD];
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

static dim3 grid_of(int rows, int cols) { return dim3((cols + TILE - 1) / TILE, (rows + TILE - 1) / TILE); }

extern "C" int transpose_1_naive(const float* x, float* y, int rows, int cols, cudaStream_t stream) {
    transpose_1_kernel<<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x, y, rows, cols);
    return cudaGetLastError();
}

extern "C" int transpose_2_tiled(const float* x, float* y, int rows, int cols, cudaStream_t stream) {
    transpose_tile_kernel<0><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x, y, rows, cols);
    return cudaGetLastError();
}

extern "C" int transpose_3_padded(const float* x, float* y, int rows, int cols, cudaStream_t stream) {
    transpose_tile_kernel<1><<<grid_of(rows, cols), dim3(TILE, TILE), 0, stream>>>(x, y, rows, cols);
    return cudaGetLastError();
}
