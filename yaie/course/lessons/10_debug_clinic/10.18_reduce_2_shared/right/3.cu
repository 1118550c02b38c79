extern "C" int reduce_2_shared(const float* x, float* total, int64_t n, cudaStream_t stream) {
    cudaMemsetAsync(total, 0, 4, stream);
    const int blocks = n > 0 ? static_cast<int>((n + THREADS - 1) / THREADS) : 1;
    reduce_2_kernel<<<blocks, THREADS, 0, stream>>>(x, total, n);
    return cudaGetLastError();
}
