// expect: Neighbouring threads should take neighbouring columns of a row
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    const int64_t row = first + threadIdx.x;
    if (threadIdx.x >= KEYS) return;
    for (int column = 0; column < head_dim; ++column) {
        tile[threadIdx.x * tile_stride + column] = row < count ? to_float(rows[row * stride + column]) : 0.0f;
    }
}
