// softmax_rows on a stream that is gone.
extern "C" int softmax_rows_too_late(const float* x, float* y, int num_rows, int size) {
    cudaStream_t stream;
    cudaStreamCreate(&stream);
    cudaStreamDestroy(stream);
    return softmax_rows(x, y, num_rows, size, stream);
}
