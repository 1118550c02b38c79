// expect: sums
extern "C" int reduce_2_shared(const float* x, float* total, int64_t n, cudaStream_t stream) {
    cudaMemsetAsync(total, 1, sizeof(float), stream);
    reduce_2_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n);
    return cudaGetLastError();
}
