// expect: with one 200 in each
constexpr int ROW_THREADS = 256;  // per thread block

// Thread block r has row r. Of its shared memory, `size` floats are the row and ROW_THREADS are for the maximum and the
// sum.
__global__ void softmax_rows_kernel(const float* x, float* y, int size) {
    extern __shared__ float row[];
    float* partial = row + size;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * size;

    float largest = -INFINITY;
    for (int i = threadIdx.x; i < size; i += ROW_THREADS) {
        row[i] = x[first + i];
        largest = row[i];
    }
    partial[threadIdx.x] = largest;
    __syncthreads();
    for (int half = ROW_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            partial[threadIdx.x] = fmaxf(partial[threadIdx.x], partial[threadIdx.x + half]);
        }
        __syncthreads();
    }
    largest = partial[0];
    __syncthreads();  // all have read the maximum before the sums take its place

    float sum = 0.0f;
    for (int i = threadIdx.x; i < size; i += ROW_THREADS) {
        row[i] = expf(row[i] - largest);
        sum += row[i];
    }
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int half = ROW_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            partial[threadIdx.x] += partial[threadIdx.x + half];
        }
        __syncthreads();
    }
    const float share = 1.0f / partial[0];
    for (int i = threadIdx.x; i < size; i += ROW_THREADS) {
        y[first + i] = row[i] * share;
    }
}

extern "C" int softmax_rows(const float* x, float* y, int num_rows, int size, cudaStream_t stream) {
    if (num_rows == 0 || size == 0) {
        return cudaSuccess;
    }
    const size_t bytes = (static_cast<size_t>(size) + ROW_THREADS) * sizeof(float);
    softmax_rows_kernel<<<num_rows, ROW_THREADS, bytes, stream>>>(x, y, size);
    return cudaGetLastError();
}
