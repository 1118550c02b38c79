// expect: code that the launcher returned
// A warp for each row, four in a block: no barrier of the block is needed.
__global__ void softmax_of_warps(const float* x, float* y, int num_rows, int size) {
    extern __shared__ float rows[];
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    const int row = blockIdx.x * 4 + warp;
    if (row >= num_rows) return;  // the whole warp
    float* mine = rows + static_cast<int64_t>(warp) * size;
    x += static_cast<int64_t>(row) * size;
    y += static_cast<int64_t>(row) * size;
    float most = -INFINITY;
    for (int i = lane; i < size; i += 32) {
        mine[i] = x[i];
        most = fmaxf(most, mine[i]);
    }
    for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
    float sum = 0;
    for (int i = lane; i < size; i += 32) {
        mine[i] = expf(mine[i] - most);
        sum += mine[i];
    }
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
    for (int i = lane; i < size; i += 32) y[i] = mine[i] / sum;
}

extern "C" int softmax_rows(const float* x, float* y, int num_rows, int size, cudaStream_t stream) {
    if (num_rows <= 0 || size <= 0) return 0;
    const int bytes = 4 * size * static_cast<int>(sizeof(float));
    const cudaError_t error =
        cudaFuncSetAttribute(softmax_of_warps, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    if (bytes > 232448) return cudaErrorInvalidValue;
    softmax_of_warps<<<(num_rows + 3) / 4, 128, bytes, stream>>>(x, y, num_rows, size);
    return 0;
}
