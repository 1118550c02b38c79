template <typename T>
__device__ float element(const T* rows, int64_t index, bool exists) {
    return exists ? to_float(rows[index]) : 0.0f;
}

template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    int i = threadIdx.x;
    while (i < 32 * head_dim) {
        const int r = i / head_dim, c = i - r * head_dim;
        const int64_t token = first + r;
        tile[r * tile_stride + c] = element(rows, token * stride + c, token < count);
        i += blockDim.x;
    }
}
