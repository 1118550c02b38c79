extern "C" int reduce_2_shared(const float* x, float* total, int64_t n, cudaStream_t stream) {
    const cudaError_t error = cudaMemsetAsync(total, 0, sizeof(*total), stream);
    if (error != cudaSuccess) {
        return error;
    }
    reduce_2_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n);
    return cudaGetLastError();
}
