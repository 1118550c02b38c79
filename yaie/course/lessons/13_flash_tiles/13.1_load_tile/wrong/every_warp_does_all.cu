// expect: elements are loaded more than once
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    for (int i = threadIdx.x % 32; i < KEYS * head_dim; i += 32) {
        const int row = i / head_dim, column = i % head_dim;
        const int64_t token = first + row;
        tile[row * tile_stride + column] = token < count ? to_float(rows[token * stride + column]) : 0.0f;
    }
}
