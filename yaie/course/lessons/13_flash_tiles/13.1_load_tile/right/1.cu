// expect: There is a better way.
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    for (int row = threadIdx.x / 32; row < KEYS; row += blockDim.x / 32) {  // a warp for each row
        for (int column = threadIdx.x % 32; column < head_dim; column += 32) {
            float value = 0.0f;
            if (first + row < count) {
                value = to_float(rows[(int64_t)(first + row) * stride + column]);
            }
            tile[row * tile_stride + column] = value;
        }
    }
}
