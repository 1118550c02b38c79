// expect: The result is right, but one thread block does all the work
__global__ void one_row(const float* x, float* y, int num_rows, int size) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= num_rows) return;
    x += (int64_t)row * size;
    y += (int64_t)row * size;
    float most = x[0];
    for (int i = 1; i < size; ++i) most = fmaxf(most, x[i]);
    float sum = 0;
    for (int i = 0; i < size; ++i) sum += expf(x[i] - most);
    for (int i = 0; i < size; ++i) y[i] = expf(x[i] - most) / sum;
}

extern "C" int softmax_rows(const float* x, float* y, int num_rows, int size, cudaStream_t stream) {
    if (num_rows > 0 && size > 0) one_row<<<(num_rows + 255) / 256, 256, 0, stream>>>(x, y, num_rows, size);
    return cudaGetLastError();
}
